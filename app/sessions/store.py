"""Sessions and broker sessions in Postgres; the caller brings the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.safeguards.blocks import is_blocked
from app.safeguards.notices import tell_all_changed, tell_changed
from app.safeguards.sealing import Place, Sealed
from app.tables import broker_sessions, intents, sessions, users

Columns = Mapping[Any, Any]
"""A row by the names of its columns, as SQLAlchemy and the bare driver both give it."""

REFUSED = "refused-by-broker"
EXPIRED = "expired"
LOGGED_OUT, REVOKED, BLOCKED, REPLACED = "logged-out", "revoked", "blocked", "replaced"
"""Why a session of ours has ended."""


@dataclass(frozen=True)
class BrokerSession:
    """One user's session at the broker; `sealed` is there while it has not ended."""

    id: UUID
    sealed: Sealed | None
    expires_at: datetime
    ended_reason: str | None

    def reason_it_is_dead(self, now: datetime) -> str | None:
        """Return why it can't be used, none while it can."""
        return self.ended_reason or (EXPIRED if now >= self.expires_at else None)

    @property
    def place(self) -> Place:
        return token_place(self.id)


@dataclass(frozen=True)
class Freshness:
    """What decides whether an earlier answer of the broker may be shown again; all of it by the store's clock.

    `epoch` grows with every order call of the user's; `since_order` is the time since the last one; `has_unknown` says
    that an order of his is under way or unknown; `last_event` is the number of his newest order event.
    """

    epoch: int
    since_order: timedelta | None
    has_unknown: bool
    last_event: int

    @property
    def version(self) -> tuple[int, int]:
        """What an answer is older than, if it was asked for under another one."""
        return self.epoch, self.last_event


@dataclass(frozen=True)
class Session:
    """One device of one user, signed in here."""

    id: UUID
    user_id: str
    user_name: str | None
    exchanges: tuple[str, ...]
    products: tuple[str, ...]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_reason: str | None
    is_user_blocked: bool
    broker: BrokerSession | None
    freshness: Freshness


@dataclass(frozen=True)
class Life:
    """By what a session lives: the present moment, and how long it may be idle."""

    now: datetime
    idle_timeout: timedelta


@dataclass(frozen=True)
class Beginning:
    """What a sign-in writes down about the device it came from."""

    session_id: UUID
    token_hash: bytes
    user_id: str
    begun_at: datetime
    expires_at: datetime
    user_agent: str | None
    address_prefix: str | None


def token_place(broker_session_id: UUID) -> Place:
    """Return where a broker token belongs; a row gets a new id with every sign-in, so an old seal never fits."""
    return Place("broker_sessions", "token_sealed", str(broker_session_id))


_BROKER_COLUMNS = (
    broker_sessions.c.id.label("broker_id"),
    broker_sessions.c.token_sealed,
    broker_sessions.c.token_key_id,
    broker_sessions.c.expires_at.label("broker_expires_at"),
    broker_sessions.c.ended_reason.label("broker_ended_reason"),
)
_FRESHNESS_COLUMNS = (
    users.c.book_epoch,
    (func.clock_timestamp() - users.c.ordered_at).label("since_order"),
    exists()
    .where(intents.c.user_id == users.c.id, intents.c.state.in_(["sending", "unknown"]))
    .correlate(users)
    .label("has_unknown"),
    users.c.last_event,
)
_FIND = select(
    sessions.c.id,
    sessions.c.user_id,
    users.c.name,
    users.c.exchanges,
    users.c.products,
    sessions.c.created_at,
    sessions.c.last_seen_at,
    sessions.c.expires_at,
    sessions.c.ended_reason,
    is_blocked(sessions.c.user_id).label("is_user_blocked"),
    *_FRESHNESS_COLUMNS,
    *_BROKER_COLUMNS,
).select_from(sessions.join(users).outerjoin(broker_sessions, broker_sessions.c.user_id == sessions.c.user_id))


FIND_MANY = str(
    _FIND.add_columns(sessions.c.token_hash)
    .where(sessions.c.token_hash == literal_column("ANY ($1::bytea[])"))
    .compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
)
"""The same look for all of several tokens' hashes, as the bare driver is given it."""


async def find(tx: AsyncConnection, token_hash: bytes) -> Session | None:
    """Return the session that a token belongs to, ended or not, with its user's broker session."""
    row = (await tx.execute(_FIND.where(sessions.c.token_hash == token_hash))).mappings().one_or_none()
    return session_of(row) if row else None


def session_of(row: Columns) -> Session:
    """Return a session as one of these looks has found it."""
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        user_name=row["name"],
        exchanges=tuple(row["exchanges"]),
        products=tuple(row["products"]),
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        expires_at=row["expires_at"],
        ended_reason=row["ended_reason"],
        is_user_blocked=row["is_user_blocked"],
        broker=_broker_session(row) if row["broker_id"] else None,
        freshness=_freshness(row),
    )


def is_live(life: Life) -> ColumnElement[bool]:
    """Return the condition that a session, a row of the caller's statement, has neither ended nor expired."""
    given = sessions.c
    return and_(
        given.ended_at.is_(None), given.expires_at > life.now, given.last_seen_at > life.now - life.idle_timeout
    )


async def find_broker_session(tx: AsyncConnection, user_id: str) -> BrokerSession | None:
    """Return the user's present broker session, ended or not."""
    wanted = select(*_BROKER_COLUMNS).where(broker_sessions.c.user_id == user_id)
    row = (await tx.execute(wanted)).mappings().one_or_none()
    return _broker_session(row) if row else None


async def find_standing(tx: AsyncConnection, user_id: str) -> tuple[BrokerSession | None, int]:
    """Return the same, and the number of the user's newest order event."""
    wanted = select(users.c.last_event, *_BROKER_COLUMNS).select_from(users.outerjoin(broker_sessions))
    row = (await tx.execute(wanted.where(users.c.id == user_id))).mappings().one_or_none()
    if row is None:
        return None, 0
    return _broker_session(row) if row["broker_id"] else None, row["last_event"]


async def begin(tx: AsyncConnection, beginning: Beginning) -> None:
    """Write down a new session."""
    await tx.execute(
        insert(sessions).values(
            id=beginning.session_id,
            token_hash=beginning.token_hash,
            user_id=beginning.user_id,
            created_at=beginning.begun_at,
            last_seen_at=beginning.begun_at,
            expires_at=beginning.expires_at,
            user_agent=beginning.user_agent,
            address_prefix=beginning.address_prefix,
        )
    )


async def touch(tx: AsyncConnection, session_id: UUID, now: datetime) -> None:
    """Remember that the session was used now."""
    await tx.execute(update(sessions).where(sessions.c.id == session_id).values(last_seen_at=now))


async def end(tx: AsyncConnection, user_id: str, session_id: UUID, now: datetime, reason: str) -> bool:
    """End a user's session; false where he has none of this id, or it has ended already."""
    return await _end(tx, user_id, now, reason, sessions.c.id == session_id) > 0


async def end_live(tx: AsyncConnection, user_id: str, session_id: UUID, life: Life, reason: str) -> bool:
    """End one that is still to be seen in the list of his devices; false where there is none."""
    return await _end(tx, user_id, life.now, reason, sessions.c.id == session_id, is_live(life)) > 0


async def end_all(tx: AsyncConnection, user_id: str, now: datetime, reason: str) -> int:
    """End every session of a user and return how many there were."""
    return await _end(tx, user_id, now, reason)


async def end_everybodys(tx: AsyncConnection, now: datetime, reason: str) -> int:
    """End every session there is."""
    ended = await tx.execute(
        update(sessions).where(sessions.c.ended_at.is_(None)).values(ended_at=now, ended_reason=reason)
    )
    await tell_all_changed(tx)
    return ended.rowcount


async def _end(tx: AsyncConnection, user_id: str, now: datetime, reason: str, *which: ColumnElement[bool]) -> int:
    ended = await tx.execute(
        update(sessions)
        .where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None), *which)
        .values(ended_at=now, ended_reason=reason)
    )
    await tell_changed(tx, user_id)
    return ended.rowcount


async def connect(
    tx: AsyncConnection, user_id: str, broker_session_id: UUID, sealed: Sealed, now: datetime, expires_at: datetime
) -> None:
    """Put a new broker session in the place of whatever the user had."""
    fresh = {
        "id": broker_session_id,
        "token_sealed": sealed.content,
        "token_key_id": sealed.key_id,
        "connected_at": now,
        "expires_at": expires_at,
        "ended_at": None,
        "ended_reason": None,
    }
    await tx.execute(
        upsert(broker_sessions)
        .values(user_id=user_id, **fresh)
        .on_conflict_do_update(index_elements=[broker_sessions.c.user_id], set_=fresh)
    )
    await tell_changed(tx, user_id)


async def disconnect(tx: AsyncConnection, broker_session_id: UUID, now: datetime, reason: str) -> bool:
    """End this very broker session and erase its token; false when a newer one has taken its place or it had ended."""
    ended = await tx.execute(
        update(broker_sessions)
        .where(broker_sessions.c.id == broker_session_id, broker_sessions.c.ended_at.is_(None))
        .values(ended_at=now, ended_reason=reason, token_sealed=None, token_key_id=None)
        .returning(broker_sessions.c.user_id)
    )
    user_id = ended.scalar_one_or_none()
    if user_id is not None:
        await tell_changed(tx, user_id)
    return user_id is not None


def _freshness(row: Columns) -> Freshness:
    return Freshness(row["book_epoch"], row["since_order"], row["has_unknown"], row["last_event"])


def _broker_session(row: Columns) -> BrokerSession:
    sealed = None if row["token_sealed"] is None else Sealed(row["token_key_id"], row["token_sealed"])
    return BrokerSession(row["broker_id"], sealed, row["broker_expires_at"], row["broker_ended_reason"])
