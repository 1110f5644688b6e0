"""Order events read again from Postgres, oldest first; the caller brings the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, Text, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.observability import logger
from app.orderbook.events import EventType, FieldChange, OrderEvent
from app.tables import order_events, seen_orders, users
from app.trading import Order, OrderStatus

_log = logger("order_events")
_e = order_events.c
_EVENTS = select(
    _e.user_id, _e.number, _e.order_no, _e.type, _e.shown, _e.changes, _e.broker_at, _e.seen_at, seen_orders.c.intent_id
).select_from(
    order_events.outerjoin(seen_orders, (seen_orders.c.user_id == _e.user_id) & (seen_orders.c.order_no == _e.order_no))
)
"""With the placement that each order is known by now to have come from."""
_FIELDS = [field.alias or name for name, field in Order.model_fields.items()]


@dataclass(frozen=True)
class Page:
    """Which events of a user are wanted: those behind an id, seen within a time, at most so many."""

    after: int
    first: datetime | None
    last: datetime | None
    limit: int


async def events_after(tx: AsyncConnection, user_id: str, after: int, most: int) -> list[OrderEvent]:
    """Return the events of a user behind an id."""
    return await list_events(tx, user_id, Page(after, None, None, most))


async def list_events(tx: AsyncConnection, user_id: str, page: Page) -> list[OrderEvent]:
    """Return the events of a page."""
    wanted = _EVENTS.where(_e.user_id == user_id, _e.number > page.after)
    if page.first:
        wanted = wanted.where(_e.seen_at >= page.first)
    if page.last:
        wanted = wanted.where(_e.seen_at < page.last)
    rows = await tx.execute(wanted.order_by(_e.number).limit(page.limit))
    return [_event(row) for row in rows]


async def news_of(tx: AsyncConnection, last_told: Mapping[str, int], most: int) -> list[tuple[str, OrderEvent]]:
    """Return the events of several users behind what each was told last, at most so many in all."""
    ids, numbers = cast(list(last_told), ARRAY(Text)), cast(list(last_told.values()), ARRAY(BigInteger))
    known = func.unnest(ids, numbers).table_valued("user_id", "last_told").render_derived("known")
    wanted = _EVENTS.join(known, (known.c.user_id == _e.user_id) & (_e.number > known.c.last_told))
    rows = await tx.execute(wanted.order_by(_e.user_id, _e.number).limit(most))
    return [(row.user_id, _event(row)) for row in rows]


async def last_event(tx: AsyncConnection, user_id: str) -> int:
    """Return the number of a user's newest event, 0 where he has none."""
    return int(await tx.scalar(select(users.c.last_event).where(users.c.id == user_id)) or 0)


def _event(row: Row[*tuple[Any, ...]]) -> OrderEvent:
    """Return an event; a field that an order had not yet when it was written down is none.

    Of one that this release can't read, as a later one may have written it, is told which order it is about.
    """
    placement_id = str(row.intent_id) if row.intent_id else None
    shown = {name: row.shown.get(name) for name in _FIELDS} | {"placementId": placement_id}
    try:
        return _told(row, row.type, shown, row.changes)
    except ValueError as error:  # which pydantic's own is, too
        _log.error("order_event_unreadable", user=row.user_id, number=row.number, error=type(error).__name__)
    named = {"orderNo": row.order_no, "placementId": placement_id, "status": OrderStatus.UNKNOWN}
    return _told(row, EventType.UNKNOWN, dict.fromkeys(_FIELDS) | named, [])


def _told(row: Row[*tuple[Any, ...]], kind: str, shown: dict[str, Any], changes: list[Any]) -> OrderEvent:
    return OrderEvent(
        id=row.number,
        type=EventType(kind),
        order=Order.model_validate(shown),
        changes=[FieldChange.model_validate(each) for each in changes],
        broker_at=row.broker_at,
        seen_at=row.seen_at,
    )
