"""The orders that the broker has shown or named for a user: whose an order is, and which placement it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
    Row,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

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
    trading_day: date
    shown: dict[str, Any] | None
    """The order as the last event told it, as JSON."""

    @property
    def is_final(self) -> bool:
        return self.status is not None and self.status.is_final


_seen = seen_orders.c
_COLUMNS = (
    _seen.order_no, _seen.intent_id, _seen.exchange, _seen.quantity, _seen.status, _seen.rejection_reason,
    _seen.correlation, _seen.history_read_at, _seen.first_seen_at, _seen.trading_day, _seen.shown,
)  # fmt: skip
_GIVEN = (
    Column("order_no", Text), Column("intent_id", Uuid), Column("exchange", Text), Column("quantity", BigInteger),
    Column("status", Text), Column("rejection_reason", Text), Column("correlation", Text), Column("shown", JSONB),
)  # fmt: skip
_OPEN = [str(status) for status in OrderStatus if not status.is_final]
_NOTHING_OF_ITS_STATE: Mapping[str, None] = dict.fromkeys(("quantity", "status", "rejection_reason", "shown"))


_of_user = bindparam("of_user", type_=Text)
_is_among = _seen.order_no == func.any(bindparam("numbers", type_=ARRAY(Text)))  # one value and not thousands
_is_left_open = and_(_seen.status.in_(_OPEN), _seen.trading_day < bindparam("before", type_=Date))
_FIND = select(*_COLUMNS).where(_seen.user_id == _of_user, _is_among)
_FIND_OR_OPEN = select(*_COLUMNS).where(_seen.user_id == _of_user, or_(_is_among, _is_left_open))


async def find_seen(
    tx: AsyncConnection, user_id: str, order_nos: Iterable[str], *, open_before: date | None = None
) -> dict[str, SeenOrder]:
    """Return what is remembered of these orders of this very user, by their numbers.

    With a trading day, also of those that stood open on an earlier one.
    """
    given: dict[str, object] = {"of_user": user_id, "numbers": sorted(set(order_nos))}
    if open_before is None:
        rows = await tx.execute(_FIND, given)
    else:
        rows = await tx.execute(_FIND_OR_OPEN, given | {"before": open_before})
    return {row.order_no: _seen_order(row) for row in rows}


_ORDERS_OF = (
    select(*_COLUMNS)
    .where(_seen.intent_id == func.any(bindparam("from_intents", type_=ARRAY(Uuid))))
    .order_by(_seen.order_no)
)


async def orders_of(tx: AsyncConnection, intent_ids: Iterable[UUID]) -> dict[UUID, list[SeenOrder]]:
    """Return the orders that came from each of these placements, by number."""
    rows = await tx.execute(_ORDERS_OF, {"from_intents": sorted(set(intent_ids))})
    found: dict[UUID, list[SeenOrder]] = {}
    for row in rows:
        found.setdefault(row.intent_id, []).append(_seen_order(row))
    return found


async def write_rows(
    tx: AsyncConnection, user_id: str, day: date, facts: Mapping[str, Mapping[str, Any]], *, is_latest: bool
) -> None:
    """Write down facts of orders, by their numbers: all in one statement and in one order, as one value of JSON.

    So two writers never wait for each other in a circle. What says how an order stands counts from the latest sight
    alone, and never once it is final; whose it is and where it was sent is as true in any other.
    """
    without_state = {} if is_latest else _NOTHING_OF_ITS_STATE
    rows = [{"order_no": number, **facts[number], **without_state} for number in facts]
    given = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(*_GIVEN).render_derived("given", with_types=True)
    names = [column.name for column in _GIVEN]
    values = [given.c[name] for name in names]
    written = upsert(seen_orders).from_select(
        ["user_id", "trading_day", "first_seen_at", "last_changed_at", *names],
        select(literal(user_id), literal(day), func.now(), func.now(), *values).order_by(given.c.order_no),
    )
    # What was told, not what was seen: an older release, side by side with this one, sees without telling.
    is_final = _seen.shown["status"].astext.in_([str(status) for status in OrderStatus if status.is_final])
    state = {name: case((is_final, _seen[name]), else_=written.excluded[name]) for name in _NOTHING_OF_ITS_STATE}
    await tx.execute(
        written.on_conflict_do_update(
            index_elements=[_seen.user_id, _seen.order_no],
            set_={
                **(state if is_latest else {}),
                "exchange": func.coalesce(_seen.exchange, written.excluded.exchange),
                "correlation": func.coalesce(_seen.correlation, written.excluded.correlation),
                "intent_id": func.coalesce(_seen.intent_id, written.excluded.intent_id),
                "last_changed_at": func.now(),
            },
        )
    )


def has_open(user_id: str) -> ColumnElement[bool]:
    """Say whether an order of a user can still change, as far as any book has shown."""
    is_expired = func.coalesce(_seen.shown["statusText"].astext.ilike("%expired%"), false())
    is_his: ColumnElement[bool] = exists(
        select(literal(1)).where(_seen.user_id == user_id, _seen.status.in_(_OPEN), ~is_expired)
    )
    return is_his


_SHOWN_ON = select(_seen.order_no).where(
    _seen.user_id == _of_user, _seen.trading_day == bindparam("on_day"), _seen.status.is_not(None)
)


async def shown_on(tx: AsyncConnection, user_id: str, day: date) -> set[str]:
    """Return the orders that a book of this trading day has shown: a later one without them is not the whole book."""
    return set(await tx.scalars(_SHOWN_ON, {"of_user": user_id, "on_day": day}))


_numbers, _intent_id = bindparam("numbers", type_=ARRAY(Text)), bindparam("of_intent", type_=Uuid)
_number = func.unnest(_numbers).column_valued("number")
_named = upsert(seen_orders).from_select(
    ["user_id", "order_no", "trading_day", "intent_id", "exchange", "first_seen_at", "last_changed_at"],
    select(
        _of_user, _number, bindparam("on_day", type_=Date), _intent_id,
        bindparam("at_exchange", type_=Text), func.now(), func.now(),
    ).order_by(_number),
)  # fmt: skip
_attached = (
    _named.on_conflict_do_update(
        index_elements=[_seen.user_id, _seen.order_no],
        set_={
            "intent_id": func.coalesce(_seen.intent_id, _named.excluded.intent_id),
            "exchange": func.coalesce(_seen.exchange, _named.excluded.exchange),
        },
    )
    .returning(*_COLUMNS)
    .cte("attached")
)
_its_own = select(_attached).where(_attached.c.intent_id == _intent_id)
_its_others = select(*_COLUMNS).where(_seen.intent_id == _intent_id, _seen.order_no != func.all(_numbers))
_ATTACH = _its_own.union_all(_its_others).order_by("order_no")


async def attach(
    tx: AsyncConnection,
    user_id: str,
    day: date,
    order_nos: Iterable[str],
    intent_id: UUID,
    exchange: str | None = None,
) -> list[SeenOrder]:
    """Write down which placement these orders came from, and its exchange; an order that has one keeps it.

    Returns all orders of the placement that are known now, by number: its book may have shown others before.
    """
    given = {
        "of_user": user_id, "numbers": sorted(set(order_nos)), "on_day": day, "of_intent": intent_id,
        "at_exchange": exchange,
    }  # fmt: skip
    return [_seen_order(row) for row in await tx.execute(_ATTACH, given)]


async def remember_history(tx: AsyncConnection, user_id: str, order_no: str, correlation: str | None) -> None:
    """Write down that an order's history was searched, and what mark it has: that of the history is the better one."""
    await tx.execute(
        update(seen_orders)
        .where(_seen.user_id == user_id, _seen.order_no == order_no)
        .values(history_read_at=func.now(), correlation=func.coalesce(correlation, _seen.correlation))
    )


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
        trading_day=row.trading_day,
        shown=row.shown,
    )
