"""Who is signed in on which devices, for himself and for an operator; the caller brings the transaction."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from app.sessions.store import Life, is_live
from app.tables import broker_sessions, sessions, users

_MOST_DEVICES = 200
_MOST_USERS = 1000


@dataclass(frozen=True)
class Device:
    """A live session as its user, or an operator, is shown it."""

    id: UUID
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    address_prefix: str | None


@dataclass(frozen=True)
class Known:
    """A user who has signed in at least once, and whether he is here now."""

    id: str
    name: str | None
    created_at: datetime
    signed_in_at: datetime
    devices: int
    is_connected: bool


async def live_devices(tx: AsyncConnection, life: Life, user_id: str | None = None) -> list[Device]:
    """Return the live sessions of a user, or of everybody, the last used first; at most two hundred."""
    given = sessions.c
    found = await tx.execute(
        select(
            given.id, given.user_id, given.created_at, given.last_seen_at, given.expires_at, given.user_agent,
            given.address_prefix,
        )
        .where(is_live(life), given.user_id == user_id if user_id else true())
        .order_by(given.last_seen_at.desc(), given.id)
        .limit(_MOST_DEVICES)
    )  # fmt: skip
    return [Device(*row) for row in found]


async def known_users(tx: AsyncConnection, life: Life, user_id: str | None = None) -> list[Known]:
    """Return one user, or the thousand who signed in last, the latest first."""
    devices = select(func.count()).where(sessions.c.user_id == users.c.id, is_live(life)).scalar_subquery()
    broker = broker_sessions.c
    is_connected = exists(
        select(literal(1)).where(broker.user_id == users.c.id, broker.ended_at.is_(None), broker.expires_at > life.now)
    )
    found = await tx.execute(
        select(users.c.id, users.c.name, users.c.created_at, users.c.signed_in_at, devices, is_connected)
        .where(users.c.id == user_id if user_id else true())
        .order_by(users.c.signed_in_at.desc(), users.c.id)
        .limit(_MOST_USERS)
    )
    return [Known(*row) for row in found]
