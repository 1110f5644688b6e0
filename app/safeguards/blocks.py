"""Users who may not come in: no session, no sign-in, no order; what is at the broker may be cancelled."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Text, bindparam, delete, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import blocks


@dataclass(frozen=True)
class Block:
    """Who is blocked, why, by whom and since when; the reason is the operator's alone."""

    user_id: str
    reason: str
    actor: str
    since: datetime


def is_blocked(user_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a user, a column or value of the caller's statement, is blocked."""
    return exists(select(literal(1)).where(blocks.c.user_id == user_id))


_HAS_BLOCK = select(is_blocked(bindparam("of_user", type_=Text)))


async def has_block(tx: AsyncConnection, user_id: str) -> bool:
    """Say whether a user is blocked."""
    return bool(await tx.scalar(_HAS_BLOCK, {"of_user": user_id}))


async def block(tx: AsyncConnection, user_id: str, reason: str, actor: str) -> bool:
    """Block; false where that was so already, and only reason and actor are new.

    Once it is committed, wait as after a halt (`wait_for_older_decisions`): then no order decided before can still go.
    """
    fresh = {"reason": reason, "actor": actor}
    since = func.now()
    done = await tx.execute(
        upsert(blocks)
        .values(user_id=user_id, since=since, **fresh)
        .on_conflict_do_update(index_elements=[blocks.c.user_id], set_=fresh)
        .returning(blocks.c.since == since)
    )
    return bool(done.scalar_one())


async def unblock(tx: AsyncConnection, user_id: str) -> bool:
    """Let a user in again; false where he was not blocked."""
    return (await tx.execute(delete(blocks).where(blocks.c.user_id == user_id))).rowcount > 0


async def blocked(tx: AsyncConnection) -> list[Block]:
    """Return everybody who is blocked, by id."""
    found = await tx.execute(select(blocks).order_by(blocks.c.user_id))
    return [Block(row.user_id, row.reason, row.actor, row.since) for row in found]
