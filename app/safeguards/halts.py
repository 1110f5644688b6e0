"""The kill switch: read inside the intent's transaction, never cached, and in force when the command returns.

Whoever decides about an intent shares a lock until that decision is committed; whoever halts commits the halt and then
waits for that lock alone. A decision made after that sees the halt, and none made before it is still under way.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Text, bindparam, delete, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.problems import TradingHalted
from app.tables import halts, users

EVERYBODY = "*"

HALT_LOCK = 0x68616C74
"""The advisory lock of decisions and halts; the letters of "halt", beside the migrations' own."""


@dataclass(frozen=True)
class Halt:
    """What is halted (`EVERYBODY` or a user's id), why, by whom and since when."""

    scope: str
    reason: str
    actor: str
    since: datetime


def share_of_lock() -> ColumnElement[Any]:
    """Return the call that takes a decision's share of the lock until its transaction ends.

    Whether there is a halt is read in a statement of its own, after it: that has to see what was committed while this
    one waited.
    """
    return func.pg_advisory_xact_lock_shared(HALT_LOCK)


def reason_of_halt(user_id: ColumnElement[str]) -> ScalarSelect[str | None]:
    """Return why a user, a value of the caller's statement, may place nothing; none where nothing is halted."""
    is_of_his = halts.c.scope.in_([literal(EVERYBODY), user_id])
    return select(halts.c.reason).where(is_of_his).order_by(halts.c.scope).limit(1).scalar_subquery()


_TAKE_SHARE = select(share_of_lock())
_REASON = select(reason_of_halt(bindparam("of_user", type_=Text)))


async def refuse_if_halted(tx: AsyncConnection, user_id: str) -> None:
    """Raise `TradingHalted` with the reason given; call it in the transaction that commits the intent."""
    await tx.execute(_TAKE_SHARE)
    reason: str | None = await tx.scalar(_REASON, {"of_user": user_id})
    if reason is not None:
        raise TradingHalted(reason)


async def halt(tx: AsyncConnection, scope: str, reason: str, actor: str) -> bool:
    """Halt; false where that was so already, and only reason and actor are new.

    Once it is committed, `wait_for_older_decisions` in another transaction: not in this one, which may hold a chain of
    the ledger that such a decision waits for.
    """
    fresh = {"reason": reason, "actor": actor}
    since = func.now()
    done = await tx.execute(
        upsert(halts)
        .values(scope=scope, since=since, **fresh)
        .on_conflict_do_update(index_elements=[halts.c.scope], set_=fresh)
        .returning(halts.c.since == since)
    )
    return bool(done.scalar_one())


async def wait_for_older_decisions(tx: AsyncConnection) -> None:
    """Return when no decision made before a halt that is committed by now can still be committed."""
    await tx.execute(select(func.pg_advisory_xact_lock(HALT_LOCK)))


async def lift(tx: AsyncConnection, scope: str) -> bool:
    """Lift a halt; false where there was none."""
    done = await tx.execute(delete(halts).where(halts.c.scope == scope))
    return done.rowcount > 0


async def halted(tx: AsyncConnection) -> list[Halt]:
    """Return everything that is halted, `EVERYBODY` first."""
    found = await tx.execute(select(halts).order_by(halts.c.scope != EVERYBODY, halts.c.scope))
    return [Halt(row.scope, row.reason, row.actor, row.since) for row in found]


async def has_signed_in(tx: AsyncConnection, user_id: str) -> bool:
    """Say whether we have ever met the user; an operator may have mistyped his id."""
    return bool(await tx.scalar(select(exists(select(literal(1)).where(users.c.id == user_id)))))
