"""Order events in Postgres, numbered 1, 2, 3 … of each user without a gap; the caller brings the transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import BigInteger, Column, DateTime, Text, case, func, insert, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.orderbook.changes import Change
from app.orderbook.store import has_open
from app.tables import book_looks, order_events, users

_look = book_looks.c
_GIVEN = (
    Column("number", BigInteger), Column("order_no", Text), Column("type", Text), Column("shown", JSONB),
    Column("changes", JSONB), Column("broker_at", DateTime(timezone=True)),
)  # fmt: skip
_AGAIN = timedelta(seconds=1)
_AT_LEAST = timedelta(minutes=1)


async def raise_number(tx: AsyncConnection, user_id: str, last: int, count: int) -> int | None:
    """Raise the number of a user's last event by `count`, and keep every other writer of his away until the commit.

    Returns the new one; none where `last` is not the last one any more.
    """
    raised: int | None = await tx.scalar(
        update(users)
        .where(users.c.id == user_id, users.c.last_event == last)
        .values(last_event=users.c.last_event + count)
        .returning(users.c.last_event)
    )
    return raised


async def insert_events(tx: AsyncConnection, user_id: str, after: int, changes: Sequence[Change]) -> None:
    """Write events down behind the one with the number `after`, as one value of JSON."""
    if not changes:
        return
    rows = [
        {"number": number, "order_no": change.order_no, "type": change.type, "shown": change.shown,
         "changes": change.changes, "broker_at": change.broker_at.isoformat() if change.broker_at else None}
        for number, change in enumerate(changes, after + 1)
    ]  # fmt: skip
    given = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(*_GIVEN).render_derived("given", with_types=True)
    names = [column.name for column in _GIVEN]
    values = [given.c[name] for name in names]
    await tx.execute(
        insert(order_events).from_select(
            ["user_id", "seen_at", *names],
            select(literal(user_id), func.clock_timestamp(), *values).order_by(given.c.number),
        )
    )


async def note_open(tx: AsyncConnection, user_id: str) -> None:
    """Remember whether any order of a user can still change, so that somebody looks at his book now and then."""
    is_open = has_open(user_id)
    planned = func.coalesce(_look.next_look_at, func.now() + _AT_LEAST)
    first = case((is_open, func.now() + _AT_LEAST), else_=null())
    await tx.execute(
        upsert(book_looks)
        .values(user_id=user_id, has_open=is_open, next_look_at=first)
        .on_conflict_do_update(
            index_elements=[_look.user_id],
            set_={"has_open": is_open, "next_look_at": case((is_open, planned), else_=_look.next_look_at)},
        )
    )


async def look_again(tx: AsyncConnection, user_id: str) -> None:
    """Have the book of a user looked at soon: what a sight has shown was dropped."""
    soon = func.now() + _AGAIN
    await tx.execute(
        upsert(book_looks)
        .values(user_id=user_id, next_look_at=soon)
        .on_conflict_do_update(
            index_elements=[_look.user_id], set_={"next_look_at": func.least(_look.next_look_at, soon)}
        )
    )
