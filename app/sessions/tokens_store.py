"""The broker's tokens as they are stored, whoever's they are; the caller brings the transaction."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.sessions.store import EXPIRED
from app.tables import broker_sessions


async def erase_expired(tx: AsyncConnection, now: datetime) -> None:
    """End every broker session whose time is over and erase its token."""
    await tx.execute(
        update(broker_sessions)
        .where(broker_sessions.c.expires_at <= now, broker_sessions.c.ended_at.is_(None))
        .values(ended_at=now, ended_reason=EXPIRED, token_sealed=None, token_key_id=None)
    )


async def key_ids_in_use(tx: AsyncConnection) -> frozenset[str]:
    """Return the ids of all keys without which something stored could not be opened."""
    found = await tx.scalars(
        select(broker_sessions.c.token_key_id).where(broker_sessions.c.token_key_id.is_not(None)).distinct()
    )
    return frozenset(key_id for key_id in found if key_id)
