"""Auth codes spent once across all replicas, and the users who came with them; the caller brings the transaction."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import spent_auth_codes, users
from app.trading import Profile

SIGNED_IN = "signed-in"


@dataclass(frozen=True)
class SpentCode:
    """A code that went to the broker, or is about to, and the attempt it was spent for."""

    code_hash: bytes
    attempt_hash: bytes
    spent_at: datetime
    outcome: str | None
    outcome_detail: str | None


async def find_spent(tx: AsyncConnection, code_hash: bytes, attempt_hashes: list[bytes]) -> list[SpentCode]:
    """Return what was spent of this code and of these attempts."""
    spent = spent_auth_codes.c
    rows = await tx.execute(
        select(spent.code_hash, spent.attempt_hash, spent.spent_at, spent.outcome, spent.outcome_detail).where(
            or_(spent.code_hash == code_hash, spent.attempt_hash.in_(attempt_hashes))
        )
    )
    return [SpentCode(*row) for row in rows]


async def spend(tx: AsyncConnection, code_hash: bytes, attempt_hash: bytes, now: datetime) -> bool:
    """Spend a code for an attempt; false when another callback was faster with either."""
    written = await tx.execute(
        upsert(spent_auth_codes)
        .values(code_hash=code_hash, attempt_hash=attempt_hash, spent_at=now)
        .on_conflict_do_nothing()
    )
    return written.rowcount > 0


async def unspend(tx: AsyncConnection, code_hash: bytes) -> None:
    """Forget that a code was spent, since it never went to the broker."""
    await tx.execute(delete(spent_auth_codes).where(spent_auth_codes.c.code_hash == code_hash))


async def finish(tx: AsyncConnection, code_hash: bytes, now: datetime, outcome: str, detail: str | None) -> None:
    """Write down how the exchange ended, for whoever waits for it; the first word stands."""
    await tx.execute(
        update(spent_auth_codes)
        .where(spent_auth_codes.c.code_hash == code_hash, spent_auth_codes.c.finished_at.is_(None))
        .values(finished_at=now, outcome=outcome, outcome_detail=detail)
    )


async def remember_user(tx: AsyncConnection, user_id: str, profile: Profile | None, now: datetime) -> None:
    """Write down who signed in, and of his profile what may be kept: account, name, exchanges, products."""
    known = (
        {
            "account_id": profile.account_id,
            "name": profile.name,
            "exchanges": profile.exchanges,
            "products": [str(product) for product in profile.products],
        }
        if profile
        else {}
    )
    await tx.execute(
        upsert(users)
        .values(id=user_id, created_at=now, signed_in_at=now, **known)
        .on_conflict_do_update(index_elements=[users.c.id], set_={"signed_in_at": now, **known})
    )
