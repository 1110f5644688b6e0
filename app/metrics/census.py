"""What the database is asked for when Prometheus asks: the same from every replica, told by each.

With a connection of its own, in the scrape's own thread and within a bound of time; whoever asks again within some
seconds is told the same again. Where the database is away, that is told, and nothing of what is in it.
"""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import SecretStr
from typing_extensions import override

from app.clock import monotonic
from app.db import Database, open_engine, told_as_unavailable
from app.metrics import census_store
from app.metrics.census_store import Overdue
from app.orders.intents import Unknowns
from app.orders.settling import count_unresolved
from app.problems import TemporarilyUnavailable

_PATIENCE = 3.0  # seconds; Prometheus waits for ten
_KEPT_FOR = 5.0  # seconds
_UNKNOWN_LABELS = ("action", "day")


@dataclass(frozen=True)
class Count:
    """What was found."""

    unknowns: list[Unknowns]
    sessions: int
    broker_sessions: int
    ended: dict[str, int]
    watches: Overdue
    book_looks: Overdue


class Census(Collector):
    """Asks the database, at most once in some seconds."""

    def __init__(self, database_url: SecretStr, idle_timeout: timedelta) -> None:
        self._database_url = database_url
        self._idle_timeout = idle_timeout
        self._asking = threading.Lock()
        self._found: Count | None = None
        self._asked_at = float("-inf")

    @override
    def collect(self) -> Iterator[Metric]:
        found = self._current()
        yield GaugeMetricFamily("partner_database_up", "1 where the database could be asked", float(found is not None))
        yield from _unknown(found.unknowns if found else [])
        yield _plain("partner_sessions", "Devices that are signed in", found.sessions if found else None)
        yield _plain("partner_broker_sessions", "Users with a broker session", found.broker_sessions if found else None)
        ended = GaugeMetricFamily(
            "partner_broker_sessions_ended", "Broker sessions that have ended in ten minutes", labels=("reason",)
        )
        for reason, count in (found.ended if found else {}).items():
            ended.add_metric((reason,), count)
        yield ended
        yield from _overdue("partner_reconciler", "after unknown and fresh orders", found.watches if found else None)
        yield from _overdue("partner_book_looks", "at books for their changes", found.book_looks if found else None)

    def _current(self) -> Count | None:
        with self._asking:
            if monotonic() - self._asked_at >= _KEPT_FOR:
                self._found = asyncio.run(self._ask())
                self._asked_at = monotonic()
            return self._found

    async def _ask(self) -> Count | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._count()
        except (TemporarilyUnavailable, TimeoutError):
            return None

    async def _count(self) -> Count:
        engine = open_engine(self._database_url, pool_size=1).execution_options(isolation_level="AUTOCOMMIT")
        db = Database(engine)
        try:
            async with told_as_unavailable(is_counted=False), engine.connect() as tx:  # this thread may count nothing
                return Count(
                    unknowns=await count_unresolved(tx),
                    sessions=await census_store.live_sessions(tx, self._idle_timeout),
                    broker_sessions=await census_store.live_broker_sessions(tx),
                    ended=await census_store.ended_broker_sessions(tx),
                    watches=await census_store.overdue_watches(tx),
                    book_looks=await census_store.overdue_book_looks(tx),
                )
        finally:
            await db.aclose()


def _plain(name: str, says: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(name, says)
    if value is not None:
        family.add_metric((), value)
    return family


def _overdue(prefix: str, of_what: str, found: Overdue | None) -> Iterator[Metric]:
    yield _plain(f"{prefix}_overdue", f"Users whose look {of_what} is due", found.count if found else None)
    yield _plain(
        f"{prefix}_late_seconds", f"By how much the first look {of_what} is late", found.seconds if found else None
    )


def _unknown(found: list[Unknowns]) -> Iterator[Metric]:
    count = GaugeMetricFamily("partner_unknown", "Things done whose outcome nobody knows", labels=_UNKNOWN_LABELS)
    age = GaugeMetricFamily(
        "partner_unknown_oldest_seconds", "How long the oldest of them is unknown", labels=_UNKNOWN_LABELS
    )
    named = GaugeMetricFamily("partner_unknown_candidates", "Orders that they might be", labels=_UNKNOWN_LABELS)
    for each in found:
        labels = (each.action.lower(), "today" if each.is_of_today else "past")
        count.add_metric(labels, each.count)
        age.add_metric(labels, each.oldest_seconds)
        named.add_metric(labels, each.candidates)
    yield from (count, age, named)
