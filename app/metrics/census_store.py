"""What only the database knows of the present, over all replicas: sessions, and how late the work in turns is."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.safeguards.blocks import is_blocked
from app.tables import book_looks, broker_sessions, sessions, watches

RECENTLY = timedelta(minutes=10)
"""How long ago a broker session may have ended to be told of."""


@dataclass(frozen=True)
class Overdue:
    """How many users' looks are due and in nobody's hands, and by how many seconds the first of them is late."""

    count: int
    seconds: float


async def live_sessions(tx: AsyncConnection, idle_timeout: timedelta) -> int:
    """Return how many devices are signed in."""
    s = sessions.c
    is_live = and_(s.ended_at.is_(None), s.expires_at > func.now(), s.last_seen_at > func.now() - idle_timeout)
    return int(await tx.scalar(select(func.count()).select_from(sessions).where(is_live)) or 0)


async def live_broker_sessions(tx: AsyncConnection) -> int:
    """Return for how many users a broker session stands."""
    b = broker_sessions.c
    is_live = and_(b.ended_at.is_(None), b.expires_at > func.now())
    return int(await tx.scalar(select(func.count()).select_from(broker_sessions).where(is_live)) or 0)


async def ended_broker_sessions(tx: AsyncConnection) -> dict[str, int]:
    """Return how many users' broker sessions have ended recently and by what, where none has begun since."""
    b = broker_sessions.c
    ended = select(b.ended_reason, func.count()).where(b.ended_at > func.now() - RECENTLY).group_by(b.ended_reason)
    return {row[0]: int(row[1]) for row in await tx.execute(ended)}


async def overdue_watches(tx: AsyncConnection) -> Overdue:
    """Return how late the looks after unknown and fresh orders are."""
    return await _overdue(tx, watches)


async def overdue_book_looks(tx: AsyncConnection) -> Overdue:
    """Return how late the looks at books for order updates are; a blocked user's is looked at by nobody."""
    return await _overdue(tx, book_looks, ~is_blocked(book_looks.c.user_id))


async def _overdue(tx: AsyncConnection, turns: Table, *others: ColumnElement[bool]) -> Overdue:
    is_free = or_(turns.c.lease_until.is_(None), turns.c.lease_until <= func.now())
    late = func.extract("epoch", func.now() - func.min(turns.c.next_look_at))
    row = (
        await tx.execute(select(func.count(), late).where(turns.c.next_look_at <= func.now(), is_free, *others))
    ).one()
    return Overdue(row[0], float(row[1] or 0))
