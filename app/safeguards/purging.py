"""What retention no longer allows goes: some rows at a time, each time in a short transaction that waits for nobody.

A row that somebody is writing is passed over and goes the next time. What nobody knows the outcome of, or still looks
after, never goes, however old it is; nor does the ledger, whose chains begin with their first row or prove nothing.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, literal, or_, select, true, tuple_, update

from app.db import Database
from app.settings import Settings
from app.tables import (
    book_looks,
    broker_sessions,
    intents,
    order_events,
    seen_orders,
    sessions,
    spent_auth_codes,
    users,
    watches,
    webhooks,
)

_BATCH = 1000  # rows that one transaction deletes: some milliseconds
_USERS = 100  # looked at together: their rows are found by the indexes that begin with a user

_s, _b, _c, _i, _o, _w, _u = (
    table.c for table in (sessions, broker_sessions, spent_auth_codes, intents, seen_orders, watches, users)
)
_e, _l, _h = order_events.c, book_looks.c, webhooks.c


@dataclass(frozen=True)
class Bounds:
    """Until which moment something must have been over to go now, by the store's clock."""

    sessions: datetime
    spent_codes: datetime
    placements: datetime
    order_events: datetime
    idle_timeout: timedelta


@dataclass(frozen=True)
class Counts:
    """How many rows go, or have gone, of each kind; of users only what was personal does."""

    sessions: int = 0
    broker_sessions: int = 0
    spent_codes: int = 0
    intents: int = 0
    orders: int = 0
    order_events: int = 0
    watches: int = 0
    looks: int = 0
    webhooks: int = 0
    users: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + his for mine, his in zip(astuple(self), astuple(other), strict=True)))


async def bounds_now(db: Database, settings: Settings) -> Bounds:
    """Return the bounds of this moment; they stay what they are for a whole purge."""
    async with db.reading() as tx:
        now: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    return Bounds(
        sessions=now - settings.retention_sessions,
        spent_codes=now - settings.retention_spent_codes,
        placements=now - settings.retention_placements,
        order_events=now - settings.retention_order_events,
        idle_timeout=settings.session_idle_timeout,
    )


async def count_overdue(db: Database, bounds: Bounds) -> Counts:
    """Return how many rows a purge within these bounds would take away, and take none."""
    overdue = _Overdue(bounds)
    counts = Counts(spent_codes=await _count(db, spent_auth_codes, overdue.spent_codes))
    async for page in _pages(db):
        counts += Counts(
            sessions=await _count(db, sessions, _s.user_id.in_(page), overdue.sessions),
            broker_sessions=await _count(db, broker_sessions, _b.user_id.in_(page), overdue.broker_sessions),
            intents=await _count(db, intents, _i.user_id.in_(page), overdue.intents),
            orders=await _count(db, seen_orders, _o.user_id.in_(page), overdue.orders),
            order_events=await _count(db, order_events, _e.user_id.in_(page), overdue.order_events),
            watches=await _count(db, watches, _w.user_id.in_(page), overdue.watches),
            looks=await _count(db, book_looks, _l.user_id.in_(page), overdue.looks),
            webhooks=await _count(db, webhooks, _h.user_id.in_(page), overdue.webhooks),
            users=await _count(db, users, _u.id.in_(page), overdue.users),
        )
    return counts


async def purge(db: Database, bounds: Bounds, *, batch: int = _BATCH) -> Counts:
    """Take away everything that was over before these bounds, and return how much that was."""
    overdue = _Overdue(bounds)
    counts = Counts(spent_codes=await _delete(db, spent_auth_codes, batch, overdue.spent_codes))
    async for page in _pages(db):
        placed = await _delete_intents(db, batch, _i.user_id.in_(page), overdue.intents)
        counts += placed + Counts(
            sessions=await _delete(db, sessions, batch, _s.user_id.in_(page), overdue.sessions),
            broker_sessions=await _delete(db, broker_sessions, batch, _b.user_id.in_(page), overdue.broker_sessions),
            orders=await _delete(db, seen_orders, batch, _o.user_id.in_(page), overdue.orders_from_elsewhere),
            order_events=await _delete(db, order_events, batch, _e.user_id.in_(page), overdue.order_events),
            watches=await _delete(db, watches, batch, _w.user_id.in_(page), overdue.watches),
            looks=await _delete(db, book_looks, batch, _l.user_id.in_(page), overdue.looks),
            webhooks=await _delete(db, webhooks, batch, _h.user_id.in_(page), overdue.webhooks),
            users=await _forget(db, _u.id.in_(page), overdue.users),
        )
    return counts


class _Overdue:
    """What goes of each table, as conditions.

    Whether something else of a user's stays is judged by the same bounds, not by what has been deleted already, so that
    counting and deleting find the same.
    """

    def __init__(self, bounds: Bounds) -> None:
        expired_at = func.least(_s.expires_at, _s.last_seen_at + bounds.idle_timeout)
        self.sessions = func.coalesce(_s.ended_at, expired_at) <= bounds.sessions
        has_session = _stays(sessions, _s.user_id == _b.user_id, self.sessions)
        self.broker_sessions = and_(func.coalesce(_b.ended_at, _b.expires_at) <= bounds.sessions, ~has_session)
        self.spent_codes = _c.spent_at <= bounds.spent_codes
        self.intents = and_(
            _i.created_at <= bounds.placements,  # follows from the next, and is what an index has
            _i.resolved_at <= bounds.placements,  # what is unknown has no such moment
            ~_i.is_watched,
        )
        self.orders_from_elsewhere = and_(_o.intent_id.is_(None), _o.last_changed_at <= bounds.placements)
        self.orders = or_(
            self.orders_from_elsewhere,
            exists(select(literal(1)).select_from(intents).where(_i.id == _o.intent_id, self.intents)),
        )
        self.watches = and_(
            _w.watched_since <= bounds.sessions,
            or_(_w.lease_until.is_(None), _w.lease_until <= func.now()),
            ~_stays(intents, _i.user_id == _w.user_id, self.intents),
        )
        self.order_events = _e.seen_at <= bounds.order_events
        self.looks = and_(_l.next_look_at.is_(None), _is_long_gone(_l.user_id, bounds))
        self.webhooks = _is_long_gone(_h.user_id, bounds)
        self.users = and_(
            _u.signed_in_at <= bounds.sessions,
            or_(_u.name.is_not(None), _u.account_id.is_not(None)),
            ~_stays(sessions, _s.user_id == _u.id, self.sessions),
            ~_stays(broker_sessions, _b.user_id == _u.id, self.broker_sessions),
            ~_stays(intents, _i.user_id == _u.id, self.intents),
            ~_stays(seen_orders, _o.user_id == _u.id, self.orders),
        )


def _is_long_gone(user_id: ColumnElement[str], bounds: Bounds) -> ColumnElement[bool]:
    """Say that a user has not signed in for as long as sessions are kept: the next sign-in makes all of it anew."""
    return exists(select(literal(1)).select_from(users).where(_u.id == user_id, _u.signed_in_at <= bounds.sessions))


def _stays(table: Table, is_his: ColumnElement[bool], is_overdue: ColumnElement[bool]) -> ColumnElement[bool]:
    """Say whether a user has a row that does not go; a condition that can't be judged lets nothing go."""
    return exists(select(literal(1)).select_from(table).where(is_his, is_overdue.is_not(true())))


async def _pages(db: Database) -> AsyncIterator[Sequence[str]]:
    """Yield the ids of all users, some at a time; a look of its own for each page."""
    page: Sequence[str] = [""]
    while page:
        async with db.reading() as tx:
            page = (await tx.scalars(select(_u.id).where(_u.id > page[-1]).order_by(_u.id).limit(_USERS))).all()
        if page:
            yield page


async def _count(db: Database, table: Table, *conditions: ColumnElement[bool]) -> int:
    async with db.reading() as tx:
        found = await tx.execute(select(func.count()).select_from(table).where(*conditions))
    return int(found.scalar_one())


async def _delete(db: Database, table: Table, batch: int, *conditions: ColumnElement[bool]) -> int:
    """Delete what the conditions say, `batch` rows in each transaction."""
    key = tuple_(*table.primary_key.columns)
    free = select(*table.primary_key.columns).where(*conditions).limit(batch).with_for_update(skip_locked=True)
    taken = free.cte("taken")  # which runs once, whatever the plan
    deleting = delete(table).where(key.in_(select(*taken.c)))
    gone = 0
    while True:
        async with db.transaction() as tx:
            count = (await tx.execute(deleting)).rowcount
        gone += count
        if count < batch:
            return gone


async def _delete_intents(db: Database, batch: int, *conditions: ColumnElement[bool]) -> Counts:
    """Delete intents, each in one transaction with the orders that came from it; while one is held, all of it stays."""
    free = select(_i.id).where(*conditions).limit(batch).with_for_update(skip_locked=True)
    gone, staying = Counts(), list[UUID]()
    while True:
        async with db.transaction() as tx:
            ids = (await tx.scalars(free.where(_i.id.not_in(staying)))).all()
            of_these = select(_o.intent_id, _o.order_no).where(_o.intent_id.in_(ids))
            taken = Counter(row.intent_id for row in await tx.execute(of_these.with_for_update(skip_locked=True)))
            there_are = Counter(row.intent_id for row in await tx.execute(of_these))
            whole = [each for each in ids if taken[each] == there_are[each]]
            orders = await tx.execute(delete(seen_orders).where(_o.intent_id.in_(whole)))
            await tx.execute(delete(intents).where(_i.id.in_(whole)))
        staying += set(ids).difference(whole)
        gone += Counts(intents=len(whole), orders=orders.rowcount)
        if len(ids) < batch:
            return gone


async def _forget(db: Database, *conditions: ColumnElement[bool]) -> int:
    """Erase what is personal of users; their row stays, since the ledger names its chains after them."""
    free = select(_u.id).where(*conditions).with_for_update(skip_locked=True).cte("free")
    forgetting = (
        update(users).where(_u.id.in_(select(free.c.id))).values(account_id=None, name=None, exchanges=[], products=[])
    )
    async with db.transaction() as tx:
        return (await tx.execute(forgetting)).rowcount
