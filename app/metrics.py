"""What Prometheus is told, on a port of its own: how much of what was done at the broker nobody knows the outcome of.

Counted in the database at each scrape, so that any replica tells the truth about all; no label names a person.
"""

import asyncio
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import SecretStr
from typing_extensions import override

from app.db import Database
from app.observability import logger
from app.orders.intents import Unknowns
from app.orders.settling import count_unresolved
from app.problems import TemporarilyUnavailable

_log = logger("metrics")

_LABELS = ["action", "day"]


class UnresolvedCollector(Collector):
    """Looks into the database whenever it is asked; with a connection of its own, in the scrape's own thread."""

    def __init__(self, database_url: SecretStr) -> None:
        self._database_url = database_url

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is unknown, by what it was and whether it is of today; only `up` where the database is away."""
        is_up = GaugeMetricFamily("partner_database_up", "1 where the database could be asked")
        try:
            found = asyncio.run(self._ask())
        except TemporarilyUnavailable:
            is_up.add_metric([], 0)
            yield is_up
            return
        is_up.add_metric([], 1)
        yield is_up
        yield from _gauges(found)

    async def _ask(self) -> list[Unknowns]:
        db = Database.open(self._database_url)
        try:
            return await count_unresolved(db)
        finally:
            await db.aclose()


def serve_metrics(host: str, port: int, database_url: SecretStr) -> WSGIServer | None:
    """Answer Prometheus from now on, in a thread; a port that is taken is an error in the log and nothing worse."""
    registry = CollectorRegistry()
    registry.register(UnresolvedCollector(database_url))
    try:
        server, _thread = start_http_server(port, host, registry)
    except OSError as error:
        _log.error("metrics_not_served", host=host, port=port, reason=error.strerror)
        return None
    _log.info("metrics_served", host=host, port=port)
    return server


def _gauges(found: list[Unknowns]) -> Iterator[GaugeMetricFamily]:
    count = GaugeMetricFamily("partner_unknown", "Things done whose outcome nobody knows", labels=_LABELS)
    age = GaugeMetricFamily("partner_unknown_oldest_seconds", "How long the oldest of them is unknown", labels=_LABELS)
    named = GaugeMetricFamily("partner_unknown_candidates", "Orders that they might be", labels=_LABELS)
    for each in found:
        labels = [each.action.lower(), "today" if each.is_of_today else "past"]
        count.add_metric(labels, each.count)
        age.add_metric(labels, each.oldest_seconds)
        named.add_metric(labels, each.candidates)
    yield from (count, age, named)
