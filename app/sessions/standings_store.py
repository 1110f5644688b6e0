"""How many sessions stand, in one look: only what decides whether they live, and what is new of their users."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.safeguards.blocks import is_blocked
from app.sessions.store import EXPIRED
from app.tables import broker_sessions, sessions, users


@dataclass(frozen=True, slots=True)
class Standing:
    """One session, and of its user the broker session, the book epoch and the number of the last order event."""

    session_id: UUID
    user_id: str
    last_seen_at: datetime
    expires_at: datetime
    ended_reason: str | None
    is_user_blocked: bool
    broker_expires_at: datetime | None
    broker_ended_reason: str | None
    epoch: int
    last_event: int

    def reason_broker_is_dead(self, now: datetime) -> str | None:
        """Return why the broker session can't be used, none while it can."""
        if self.broker_expires_at is None or now >= self.broker_expires_at:
            return self.broker_ended_reason or EXPIRED
        return self.broker_ended_reason


async def standings_of(tx: AsyncConnection, session_ids: Iterable[UUID]) -> dict[UUID, Standing]:
    """Return how these sessions stand now, by their ids; what is missing there is none of."""
    s, b = sessions.c, broker_sessions.c
    rows = await tx.execute(
        select(
            s.id, s.user_id, s.last_seen_at, s.expires_at, s.ended_reason, is_blocked(s.user_id),
            b.expires_at, b.ended_reason, users.c.book_epoch, users.c.last_event,
        )
        .select_from(sessions.join(users).outerjoin(broker_sessions, b.user_id == s.user_id))
        .where(s.id == func.any(cast(list(session_ids), ARRAY(Uuid))))
    )  # fmt: skip
    return {row[0]: Standing(*row) for row in rows}
