"""Writing down what a sight of the book has shown: each change once, in order, on however many replicas it is seen.

A sight counts only if no change was written down since before the broker was asked: of two sights that overlap nobody
can say which is the older one. The number of the user's last event says so, without any clock. One that does not count
is dropped, and somebody looks again (docs/decisions/0007).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from app.broker.wire import BookRow
from app.db import Database, Transaction
from app.orderbook import events_store, store
from app.orderbook.changes import Change, changes_of, differs, is_over, rows_by_number, shown_of
from app.orderbook.store import SeenOrder
from app.safeguards.notices import tell_events

_MARKS = ("exchange", "correlation", "intent_id")
"""What does not change with the order, and is taken from any sight."""


@dataclass(frozen=True)
class Sight:
    """One reading of a user's book on a trading day, and the number of his last event before the broker was asked."""

    user_id: str
    rows: list[BookRow]
    day: date
    after_event: int

    @property
    def numbers(self) -> list[str]:
        return [row.order.order_no for row in self.rows if row.order.order_no]


async def find_known(tx: Transaction, sight: Sight) -> dict[str, SeenOrder]:
    """Return what is remembered of the orders that a sight is about, shown or gone."""
    return await store.find_seen(tx, sight.user_id, sight.numbers, open_before=sight.day)


async def record_sight(db: Database, sight: Sight) -> dict[str, SeenOrder]:
    """Write down what is new in a sight, tell all replicas, and return what was known before."""
    async with db.reading() as tx:
        known = await find_known(tx, sight)
    if _news(sight, known, {}):
        async with db.transaction() as tx:
            has_events = await write_sight(tx, sight, known)
        if has_events:
            await announce(db, sight.user_id)
    return known


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
    await events_store.note_open(tx, sight.user_id, has_open=any(not is_over(shown_of(row)) for row in sight.rows))
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
    found = {number: _facts(row, came_from.get(number)) for number, row in rows_by_number(sight.rows).items()}
    news = {number: facts for number, facts in found.items() if _is_news(facts, known.get(number))}
    gone = (change for change in changes_of([], known, sight.day) if change.order_no not in found)
    return news | {change.order_no: _facts_of_gone(change, known[change.order_no]) for change in gone}


def _facts(row: BookRow, intent_id: UUID | None) -> dict[str, Any]:
    return {
        "intent_id": intent_id,
        "exchange": row.order.exchange,
        "quantity": row.order.quantity,
        "status": str(row.order.status),
        "rejection_reason": row.order.rejection_reason,
        "correlation": row.correlation,
        "shown": shown_of(row),
    }


def _facts_of_gone(change: Change, known: SeenOrder) -> dict[str, Any]:
    return {
        "intent_id": known.intent_id,
        "exchange": known.exchange,
        "quantity": known.quantity,
        "status": change.shown["status"],
        "rejection_reason": known.rejection_reason,
        "correlation": known.correlation,
        "shown": dict(change.shown),
    }


def _is_news(facts: dict[str, Any], known: SeenOrder | None) -> bool:
    if known is None:
        return True
    if any(facts[name] is not None and getattr(known, name) is None for name in _MARKS):
        return True
    return not known.is_final and differs(known.shown, facts["shown"])
