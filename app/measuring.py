"""What a process counts about itself: plain numbers in memory, which somebody else reads and tells.

No library stands behind it: one call costs less than a microsecond, where that of a metrics library costs three to ten,
and a worker need not load one (docs/metrics.md). Changed in the event loop alone, read in any thread.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

Labels = tuple[str, ...]
Cells = dict[Labels, Any]
"""Of each set of labels the number or, of a timer, the numbers."""

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds; from a shared read to the longest deadline."""

_FIRST = 2  # of a timer's numbers: before the counts by length stand how many and, in seconds, how long together
_MOST = 2_000  # sets of labels of one measure; more would mean that a caller can make them up


class Joined(Enum):
    """What the gauges of several workers come to."""

    SUM = "sum"
    LARGEST = "largest"
    SMALLEST = "smallest"

    def of(self, one: float, other: float) -> float:
        if self is Joined.SUM:
            return one + other
        return max(one, other) if self is Joined.LARGEST else min(one, other)


@dataclass(frozen=True)
class Named:
    """How a measure is told: its name, what it says, and the names of its labels."""

    name: str
    says: str
    labels: Labels = ()


class Counter:
    """Something that happens, counted since the process began."""

    def __init__(self, named: Named, known: Iterable[Labels]) -> None:
        self.named = named
        self._known = tuple(known) if named.labels else ((),)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was counted."""
        self.cells: Cells = dict.fromkeys(self._known, 0.0)

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        try:
            self.cells[labels] += amount
        except KeyError:
            if len(self.cells) < _MOST:
                self.cells[labels] = amount


class Gauge:
    """How something stands now."""

    def __init__(self, named: Named, joined: Joined) -> None:
        self.named = named
        self.joined = joined
        self._set: Cells = {}
        self._asked: dict[object, Callable[[], float]] = {}

    def set(self, value: float, labels: Labels = ()) -> None:
        self._set[labels] = value

    def add(self, amount: float, labels: Labels = ()) -> None:
        self._set[labels] = self._set.get(labels, 0.0) + amount

    def begin_anew(self) -> None:
        """Forget how it stood, and whom to ask."""
        self._set.clear()
        self._asked.clear()

    def ask(self, owner: object, how: Callable[[], float]) -> None:
        """Have it asked for whenever it is told; several owners' answers are joined."""
        self._asked[owner] = how

    def forget(self, owner: object) -> None:
        """Ask an owner no more."""
        self._asked.pop(owner, None)

    @property
    def cells(self) -> Cells:
        found = dict(self._set)
        for how in list(self._asked.values()):
            found[()] = self.joined.of(found[()], how()) if () in found else how()
        return found


class Timer:
    """Something that takes time: how often it happened by all labels, and how long it took by the first of them."""

    def __init__(self, named: Named, timed: Named) -> None:
        """Take how the count is named and how the time, whose labels are the first of those of the count.

        Where both have one name only the time is told, which is counted as well.
        """
        self.named = named
        self.timed = timed
        self.cells: Cells = {}

    def add(self, labels: Labels, seconds: float | None) -> None:
        """Count one that took so long; with none it is counted and not timed."""
        try:
            numbers = self.cells[labels]
        except KeyError:
            if len(self.cells) >= _MOST:
                return
            numbers = self.cells[labels] = [0.0] * (_FIRST + len(BOUNDS) + 1)
        numbers[0] += 1
        if seconds is not None:
            numbers[1] += seconds
            numbers[_FIRST + bisect_left(BOUNDS, seconds)] += 1

    def begin_anew(self) -> None:
        """Forget what was counted."""
        self.cells.clear()

    @staticmethod
    def count(numbers: Sequence[float]) -> float:
        return numbers[0]

    @staticmethod
    def lengths(numbers: Sequence[float]) -> tuple[float, Sequence[float]]:
        """Return how many seconds all took together, and how many fell up to each bound and beyond the last."""
        return numbers[1], numbers[_FIRST:]


Measure = Counter | Gauge | Timer
M = TypeVar("M", Counter, Gauge, Timer)
Standing = dict[str, Cells]
"""How the measures of a process stand, by name."""


class Measures:
    """All of a process, in the order in which they are told."""

    def __init__(self) -> None:
        self._all: dict[str, Measure] = {}

    def __iter__(self) -> Iterator[Measure]:
        return iter(self._all.values())

    def counter(self, name: str, says: str, labels: Labels = (), known: Iterable[Labels] = ()) -> Counter:
        """Make a counter; what is `known` beforehand is told as 0, so that the first one is seen as a change."""
        return self._keep(Counter(Named(name, says, labels), known))

    def gauge(self, name: str, says: str, labels: Labels = (), joined: Joined = Joined.SUM) -> Gauge:
        return self._keep(Gauge(Named(name, says, labels), joined))

    def timer(self, named: Named, timed: Named) -> Timer:
        return self._keep(Timer(named, timed))

    def begin_anew(self) -> None:
        """Forget everything, for a process that is to begin where nothing has happened yet."""
        for each in self:
            each.begin_anew()

    def standing(self) -> Standing:
        """Return how all stand; a copy, which nobody changes any more."""
        return {name: _copied(each.cells) for name, each in self._all.items()}

    def joined(self, living: Iterable[Standing], dead: Iterable[Standing]) -> Standing:
        """Return what the standings of several processes come to; of a dead one its gauges say nothing any more."""
        found: Standing = {name: {} for name in self._all}
        for standing, is_living in [*((each, True) for each in living), *((each, False) for each in dead)]:
            for name, cells in standing.items():
                measure = self._all.get(name)
                if measure is not None and (is_living or not isinstance(measure, Gauge)):
                    _join(found[name], cells, measure)
        return found

    def _keep(self, measure: M) -> M:
        self._all[measure.named.name] = measure
        return measure


def _copied(cells: Mapping[Labels, Any]) -> Cells:
    """Copy cells to which the event loop may be adding a new one."""
    return {labels: list(found) if isinstance(found, list) else found for labels, found in list(cells.items())}


def _join(into: Cells, cells: Cells, measure: Measure) -> None:
    for labels, found in cells.items():
        before = into.get(labels)
        if before is None:
            into[labels] = found
        elif isinstance(measure, Timer):
            into[labels] = [one + other for one, other in zip(before, found, strict=True)]
        else:
            into[labels] = measure.joined.of(before, found) if isinstance(measure, Gauge) else before + found
