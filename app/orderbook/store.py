"""The orders that the broker has shown or named for a user: whose an order is, and which placement it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.broker.wire import BookRow
from app.tables import seen_orders
from app.trading import OrderStatus


@dataclass(frozen=True)
class SeenOrder:
    """What is remembered of one order of one user."""

    order_no: str
    intent_id: UUID | None
    exchange: str | None
    quantity: int | None
    status: OrderStatus | None
    rejection_reason: str | None
    correlation: str | None
    history_read_at: datetime | None
    first_seen_at: datetime

    @property
    def is_final(self) -> bool:
        return self.status is not None and self.status.is_final


_seen = seen_orders.c
_COLUMNS = (
    _seen.order_no, _seen.intent_id, _seen.exchange, _seen.quantity, _seen.status, _seen.rejection_reason,
    _seen.correlation, _seen.history_read_at, _seen.first_seen_at,
)  # fmt: skip


async def find_seen(tx: AsyncConnection, user_id: str, order_nos: Iterable[str]) -> dict[str, SeenOrder]:
    """Return what is remembered of these orders of this very user, by their numbers."""
    rows = await tx.execute(
        select(*_COLUMNS).where(_seen.user_id == user_id, _seen.order_no.in_(sorted(set(order_nos))))
    )
    return {row.order_no: _seen_order(row) for row in rows}


async def orders_of(tx: AsyncConnection, intent_ids: Iterable[UUID]) -> dict[UUID, list[SeenOrder]]:
    """Return the orders that came from each of these placements, by number."""
    rows = await tx.execute(
        select(*_COLUMNS).where(_seen.intent_id.in_(sorted(set(intent_ids)))).order_by(_seen.order_no)
    )
    found: dict[UUID, list[SeenOrder]] = {}
    for row in rows:
        found.setdefault(row.intent_id, []).append(_seen_order(row))
    return found


async def record(
    tx: AsyncConnection,
    user_id: str,
    day: date,
    rows: Iterable[BookRow],
    known: Mapping[str, SeenOrder],
    came_from: Mapping[str, UUID] | None = None,
) -> None:
    """Write down what a book shows that is not known yet, and which placement an order came from where that is known.

    `known` is what `find_seen` has just said. All in one statement and in one order, so that two writers never wait for
    each other in a circle. What is final stays final: an older reading that arrives later changes nothing.
    """
    # Of two rows about one order the one that is still open counts: a cancel that nobody needs does no harm.
    ordered = sorted(rows, key=lambda row: not row.order.status.is_final)
    shown = {row.order.order_no: _facts(row, came_from or {}) for row in ordered if row.order.order_no}
    changed = {number: facts for number, facts in shown.items() if _differs(facts, known.get(number))}
    if not changed:
        return
    written = upsert(seen_orders).values([
        {"user_id": user_id, "order_no": number, "trading_day": day, "first_seen_at": func.now(),
         "last_changed_at": func.now(), **changed[number]}
        for number in sorted(changed)
    ])  # fmt: skip
    is_final = _seen.status.in_([str(status) for status in OrderStatus if status.is_final])
    moving = ("quantity", "status", "rejection_reason")
    await tx.execute(
        written.on_conflict_do_update(
            index_elements=[_seen.user_id, _seen.order_no],
            set_={
                **{name: case((is_final, _seen[name]), else_=written.excluded[name]) for name in moving},
                "exchange": func.coalesce(_seen.exchange, written.excluded.exchange),
                "correlation": func.coalesce(_seen.correlation, written.excluded.correlation),
                "intent_id": func.coalesce(_seen.intent_id, written.excluded.intent_id),
                "last_changed_at": func.now(),
            },
        )
    )


async def shown_on(tx: AsyncConnection, user_id: str, day: date) -> set[str]:
    """Return the orders that a book of this trading day has shown: a later one without them is not the whole book."""
    found = await tx.scalars(
        select(_seen.order_no).where(_seen.user_id == user_id, _seen.trading_day == day, _seen.status.is_not(None))
    )
    return set(found)


async def attach(
    tx: AsyncConnection,
    user_id: str,
    day: date,
    order_nos: Iterable[str],
    intent_id: UUID,
    exchange: str | None = None,
) -> None:
    """Write down which placement these orders came from, and its exchange; an order that has one keeps it."""
    numbers = sorted(set(order_nos))
    if not numbers:
        return
    written = upsert(seen_orders).values([
        {"user_id": user_id, "order_no": number, "trading_day": day, "intent_id": intent_id, "exchange": exchange,
         "first_seen_at": func.now(), "last_changed_at": func.now()}
        for number in numbers
    ])  # fmt: skip
    await tx.execute(
        written.on_conflict_do_update(
            index_elements=[_seen.user_id, _seen.order_no],
            set_={
                "intent_id": func.coalesce(_seen.intent_id, written.excluded.intent_id),
                "exchange": func.coalesce(_seen.exchange, written.excluded.exchange),
            },
        )
    )


async def remember_history(tx: AsyncConnection, user_id: str, order_no: str, correlation: str | None) -> None:
    """Write down that an order's history was searched, and what mark it has: that of the history is the better one."""
    await tx.execute(
        update(seen_orders)
        .where(_seen.user_id == user_id, _seen.order_no == order_no)
        .values(history_read_at=func.now(), correlation=func.coalesce(correlation, _seen.correlation))
    )


def _facts(row: BookRow, came_from: Mapping[str, UUID]) -> dict[str, Any]:
    return {
        "intent_id": came_from.get(row.order.order_no or ""),
        "exchange": row.order.exchange,
        "quantity": row.order.quantity,
        "status": str(row.order.status),
        "rejection_reason": row.order.rejection_reason,
        "correlation": row.correlation,
    }


def _differs(facts: dict[str, Any], known: SeenOrder | None) -> bool:
    if known is None:
        return True
    is_news = any(
        facts[name] is not None and getattr(known, name) is None for name in ("exchange", "correlation", "intent_id")
    )
    return is_news or any(facts[name] != getattr(known, name) for name in ("quantity", "status", "rejection_reason"))


def _seen_order(row: Row[*tuple[Any, ...]]) -> SeenOrder:
    return SeenOrder(
        order_no=row.order_no,
        intent_id=row.intent_id,
        exchange=row.exchange,
        quantity=row.quantity,
        status=OrderStatus(row.status) if row.status else None,
        rejection_reason=row.rejection_reason,
        correlation=row.correlation,
        history_read_at=row.history_read_at,
        first_seen_at=row.first_seen_at,
    )
