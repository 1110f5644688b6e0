"""How our own counts are told in the words of Prometheus."""

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from app import measures
from app.measuring import BOUNDS, Cells, Counter, Gauge, Labels, Named, Standing, Timer
from app.tables import SCHEMA_REVISION

_PACKAGE = "gopocket-partner"


class MeasuresCollector(Collector):
    """Tells how the measures of all processes stand."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    @override
    def collect(self) -> Iterator[Metric]:
        standing = self._standing()
        for measure in measures.ALL:
            cells = standing.get(measure.named.name, {})
            if isinstance(measure, Timer):
                yield from _of_timer(measure, cells)
            elif isinstance(measure, Counter):
                yield _counted(measure.named, cells)
            elif isinstance(measure, Gauge):
                yield _gauged(measure.named, cells)
        yield _build()


def _of_timer(timer: Timer, cells: Cells) -> Iterator[Metric]:
    if timer.named != timer.timed:
        yield _counted(timer.named, {labels: timer.count(numbers) for labels, numbers in cells.items()})
    summed: dict[Labels, tuple[float, list[float]]] = {}
    for labels, numbers in cells.items():
        seconds, counts = timer.lengths(numbers)
        key = labels[: len(timer.timed.labels)]
        before, already = summed.get(key, (0.0, [0.0] * len(counts)))
        summed[key] = before + seconds, [one + other for one, other in zip(already, counts, strict=True)]
    family = HistogramMetricFamily(timer.timed.name, timer.timed.says, labels=timer.timed.labels)
    bounds = [*map(str, BOUNDS), "+Inf"]
    for labels, (seconds, counts) in summed.items():
        if any(counts):
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), seconds)
    yield family


def _counted(named: Named, cells: Cells) -> Metric:
    family = CounterMetricFamily(named.name, named.says, labels=named.labels)
    for labels, count in cells.items():
        family.add_metric(labels, count)
    return family


def _gauged(named: Named, cells: Cells) -> Metric:
    family = GaugeMetricFamily(named.name, named.says, labels=named.labels)
    for labels, value in cells.items():
        family.add_metric(labels, value)
    return family


def _build() -> Metric:
    family = GaugeMetricFamily("partner_build_info", "Which release runs here", labels=("version", "schema"))
    try:
        release = version(_PACKAGE)
    except PackageNotFoundError:  # run from a folder that nobody has installed
        release = "-"
    family.add_metric((release, SCHEMA_REVISION), 1)
    return family
