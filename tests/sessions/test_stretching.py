"""A poll lasts through hours and days: as calls run out its answers grow older, and somebody else's call finds room."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from app.limits import Category
from app.problems import RateLimited
from app.safeguards.quotas import Quota, Standing
from app.safeguards.ratelimit import RateLimiter
from app.sessions.asking import Caller, Reading
from app.sessions.sharing import SharedReads
from app.sessions.store import Freshness

HOUR, USABLE = 3600, 900
READS = ("funds", "holdings", "positions", "profile")


@dataclass
class Broker:
    """An hour's window in a time that runs by itself, spent by whoever asks."""

    now: float = 0.0
    log: deque[float] = field(default_factory=deque)
    refused: int = 0

    def __call__(self) -> float:
        return self.now

    def last_standing(self, _user_id: str, _category: Category) -> Standing:
        self._forget()
        reset = self.log[0] + HOUR - self.now if self.log else HOUR
        return Standing((Quota("non-trading-3600", HOUR, 1000, USABLE - len(self.log), reset),), self.now)

    async def ask(self) -> Reading[str]:
        self._forget()
        if len(self.log) >= USABLE:
            self.refused += 1
            raise RateLimited(1.0, ["non-trading-3600"])
        self.log.append(self.now)
        return Reading("answer", datetime.fromtimestamp(self.now, UTC))

    def _forget(self) -> None:
        while self.log and self.log[0] <= self.now - HOUR:
            self.log.popleft()


@dataclass
class Row:
    freshness: Freshness


@dataclass
class Somebody:
    """As much of a caller as sharing looks at."""

    user_id: str = "AB1234"
    has_live_session: bool = True
    since_order: timedelta | None = None

    @property
    def broker(self) -> Any:
        return type("Session", (), {"id": UUID(int=1)})

    @property
    def freshness(self) -> Freshness:
        return Freshness(1, self.since_order, has_unknown=False, last_event=0)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_poll_of_four_cards_lasts_for_hours(replicas: int) -> None:
    broker = Broker()
    shared = [SharedReads(cast("RateLimiter", broker), {"": 1.0}, now=broker) for _ in range(replicas)]
    somebody = cast("Caller", Somebody())
    oldest, least = 0.0, USABLE
    for second in range(0, 2 * HOUR, 2):
        broker.now = float(second)
        for read in READS:
            reading = await shared[second // 2 % replicas].read(somebody, read, broker.ask)
            oldest = max(oldest, broker.now - reading.as_of.timestamp())
        if second > 300:  # the first minutes are spent freely
            least = min(least, USABLE - len(broker.log))
    assert broker.refused == 0
    assert oldest <= 60
    assert least >= 40, "an order's modification finds room at any time"


async def test_the_book_does_not_stretch_after_an_order() -> None:
    broker = Broker()
    shared = SharedReads(cast("RateLimiter", broker), {"": 1.0}, now=broker)
    for each in range(400):
        broker.log.append(each / 1000)
    for read, since_order, cost in (
        ("orders", None, 1), ("orders", timedelta(seconds=31), 1), ("orders", timedelta(seconds=29), 3),
        ("trades", timedelta(seconds=29), 3), ("funds", timedelta(seconds=29), 1),
    ):  # fmt: skip
        somebody = cast("Caller", Somebody(user_id=f"{read}{since_order}", since_order=since_order))
        before = len(broker.log)
        for _ in range(3):
            broker.now += 3.0
            await shared.read(somebody, read, broker.ask)
        assert len(broker.log) - before == cost, (read, since_order)
