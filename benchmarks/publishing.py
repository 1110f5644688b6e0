"""Order events, written into the database as a sight of the book is; and when they were committed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from functools import partial
from itertools import count
from time import perf_counter
from typing import TypeVar

from app.broker.wire import BookRow
from app.clock import Clock, trading_day
from app.db import Database, Transaction
from app.order_updates.store import last_event
from app.orderbook.changes import changes_of
from app.orderbook.events_store import insert_events, raise_number
from app.orderbook.recording import Sight, announce, find_known, write_sight
from app.trading import Order, OrderStatus, Validity, Variety

T = TypeVar("T")

_WRITERS = 8  # replicas and requests that write at the same time


class Publisher:
    """Whoever has seen news; with `is_told` off its notices are lost."""

    def __init__(self, db: Database, *, is_told: bool = True) -> None:
        self._db = db
        self._is_told = is_told
        self._numbers = count(1)

    async def publish(self, user_id: str) -> float:
        """Publish an order of a user that has just been filled, and return when it was committed."""
        async with self._db.transaction() as tx:
            sight = await self._sight(tx, user_id)
            if not await write_sight(tx, sight, await find_known(tx, sight)):
                raise AssertionError("somebody else has written at the same time")
        committed_at = perf_counter()
        if self._is_told:
            await announce(self._db, user_id)
        return committed_at

    async def publish_each(self, user_ids: Sequence[str]) -> list[float]:
        """Publish one of each user, some at a time, as fast as it goes."""
        return await _some_at_a_time(self.publish, user_ids)

    async def publish_all(self, user_ids: Sequence[str]) -> float:
        """Publish one of each user in a single commit: nothing but the events, lest the locks of the looks are held."""
        async with self._db.transaction() as tx:
            for user_id in user_ids:
                sight = await self._sight(tx, user_id)
                await raise_number(tx, user_id, sight.after_event, 1)
                await insert_events(tx, user_id, sight.after_event, changes_of(sight.rows, {}, sight.day))
        committed_at = perf_counter()
        if self._is_told:
            await _some_at_a_time(partial(announce, self._db), user_ids)
        return committed_at

    async def _sight(self, tx: Transaction, user_id: str) -> Sight:
        now = Clock().now()
        order = _filled(f"{now:%y%m%d%H%M%S}{next(self._numbers):06}")
        row = BookRow(order, correlation=None, disclosed_quantity=None, changed_at=now)
        return Sight(user_id, [row], trading_day(now), await last_event(tx, user_id))


async def _some_at_a_time(work: Callable[[str], Awaitable[T]], user_ids: Sequence[str]) -> list[T]:
    turn = asyncio.Semaphore(_WRITERS)

    async def take_turn(user_id: str) -> T:
        async with turn:
            return await work(user_id)

    return await asyncio.gather(*map(take_turn, user_ids))


def _filled(number: str) -> Order:
    return Order(
        order_no=number,
        exchange="NSE",
        trading_symbol="TATASTEEL-EQ",
        transaction_type="BUY",
        quantity=20,
        filled_quantity=20,
        pending_quantity=0,
        price=Decimal("142.55"),
        trigger_price=None,
        average_price=Decimal("142.50"),
        product="CNC",
        order_type="LIMIT",
        variety=Variety.REGULAR,
        validity=Validity.DAY,
        status=OrderStatus.COMPLETE,
        status_text="COMPLETE",
        rejection_reason=None,
        exchange_order_id="1100000000000002",
        placement_id=None,
        placed_at=Clock().now(),
    )
