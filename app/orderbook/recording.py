"""Writing down what a sight of the book has shown: each change once, in order, on however many replicas it is seen.

A sight counts only if no change was written down since before the broker was asked: of two sights that overlap nobody
can say which is the older one. The number of the user's last event says so, without any clock. One that does not count
is dropped, and somebody looks again (docs/decisions/0007).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any
from uuid import UUID

from app import measures
from app.broker.wire import BookRow
from app.db import Database, Transaction
from app.orderbook import events_store, store
from app.orderbook.changes import changes_of, differs, is_out_of_sight, is_over, rows_by_number, said, unseen_end
from app.orderbook.store import SeenOrder
from app.safeguards.notices import tell_events


@dataclass(frozen=True)
class Sight:
    """One reading of a user's book on a trading day, and the number of his last event before the broker was asked."""

    user_id: str
    rows: list[BookRow]
    day: date
    after_event: int

    @cached_property
    def latest(self) -> dict[str, BookRow]:
        """The rows by the numbers of their orders."""
        return rows_by_number(self.rows)

    @property
    def numbers(self) -> list[str]:
        return list(self.latest)


async def find_known(tx: Transaction, sight: Sight) -> dict[str, SeenOrder]:
    """Return what is remembered of the orders that a sight is about, shown or gone."""
    return await store.find_seen(tx, sight.user_id, sight.numbers, open_before=sight.day)


@dataclass(frozen=True)
class Recorded:
    """What was known before a sight, and whether it had anything new."""

    known: dict[str, SeenOrder]
    had_news: bool


async def record_sight(db: Database, sight: Sight) -> Recorded:
    """Write down what is new in a sight, tell all replicas, and return what was known before."""
    async with db.reading() as tx:
        known = await find_known(tx, sight)
    had_news = bool(_news(sight, known, {}))
    if had_news:
        async with db.transaction() as tx:
            has_events = await write_sight(tx, sight, known)
        if has_events:
            await announce(db, sight.user_id)
    return Recorded(known, had_news)


async def write_sight(
    tx: Transaction, sight: Sight, known: Mapping[str, SeenOrder], came_from: Mapping[str, UUID] | None = None
) -> bool:
    """Write down what is new in a sight, and which placement an order came from where that is known.

    `known` is what `find_known` has just said. Returns whether there are new events, to be announced after the commit.
    """
    news = _news(sight, known, came_from or {})
    if not news:
        return False
    changes = changes_of(sight.rows, known, sight.day)
    last = await events_store.raise_number(tx, sight.user_id, sight.after_event, len(changes))
    await store.write_rows(tx, sight.user_id, sight.day, news, is_latest=last is not None)
    if last is None:
        await events_store.look_again(tx, sight.user_id)
        return False
    await events_store.insert_events(tx, sight.user_id, last - len(changes), changes)
    await events_store.note_open(tx, sight.user_id)
    measures.events_written(len(changes))
    return bool(changes)


async def announce(db: Database, user_id: str) -> None:
    """Tell every replica that a user has new events.

    By itself, after the commit: PostgreSQL lets those who notify commit one after another, and this one writes nothing.
    A notice that is lost costs its listeners a second.
    """
    async with db.reading() as tx:
        await tell_events(tx, user_id)


def _news(sight: Sight, known: Mapping[str, SeenOrder], came_from: Mapping[str, UUID]) -> dict[str, dict[str, Any]]:
    """Return the facts of every order of which anything is to be written, by its number."""
    news = {
        number: _facts(row, known.get(number), came_from.get(number))
        for number, row in sight.latest.items()
        if _is_news(row, came_from.get(number), known.get(number))
    }
    gone = (
        order for number, order in known.items() if number not in sight.latest and is_out_of_sight(order, sight.day)
    )
    return news | {order.order_no: _facts_of_gone(order) for order in gone}


def _facts(row: BookRow, known: SeenOrder | None, intent_id: UUID | None) -> dict[str, Any]:
    shown = said(row, known.shown if known and known.status else None)
    return {
        "intent_id": str(intent_id) if intent_id else None,
        "exchange": shown["exchange"],
        "quantity": shown["quantity"],
        "status": shown["status"],
        "rejection_reason": shown["rejectionReason"],
        "correlation": row.correlation,
        "shown": shown,
    }


def _facts_of_gone(order: SeenOrder) -> dict[str, Any]:
    """Return that it does not stand any more as far as anybody knows; shown once more, it is told anew."""
    return {
        "intent_id": None,
        "exchange": order.exchange,
        "quantity": order.quantity,
        "status": None,
        "rejection_reason": order.rejection_reason,
        "correlation": None,
        "shown": unseen_end(order).shown,
    }


def _is_news(row: BookRow, intent_id: UUID | None, known: SeenOrder | None) -> bool:
    if known is None:
        return True
    marks = (
        (row.order.exchange, known.exchange), (row.correlation, known.correlation), (intent_id, known.intent_id),
    )  # fmt: skip
    if any(new is not None and old is None for new, old in marks):  # of any sight: it does not change with the order
        return True
    if known.shown is None or known.status is None:
        return True
    return not is_over(known.shown) and differs(known.shown, said(row, known.shown))
