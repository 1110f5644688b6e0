"""Intents in Postgres: what is about to be done at the broker, and what became of it, in the caller's transaction.

Every moment is the store's own clock, which all replicas share.
"""

import base64
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Row, Select, and_, cast, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.clock import random_bytes
from app.orders.intents import SENDING, Action, Beginning, Intent, Page, ResolvedBy, Unknowns
from app.paging import cursor_after, read_cursor
from app.tables import intents, users
from app.trading import Outcome

_i = intents.c
_COLUMNS = (
    _i.id, _i.user_id, _i.action, _i.fingerprint, _i.terms, _i.order_no, _i.correlation, _i.trading_day,
    _i.created_at, _i.doubtful_at, _i.state, _i.reason, _i.resolved_at, _i.is_watched, _i.candidates,
    _i.absent_since, _i.cancel_wanted_at, func.clock_timestamp().label("now"),
)  # fmt: skip
_TODAY = cast(func.timezone("Asia/Kolkata", func.now()), Date)


async def begin(tx: AsyncConnection, beginning: Beginning) -> Intent:
    """Write down an intent; its sender may let bytes go until `send_by`. What was read before is not shown again."""
    await _raise_epoch(tx, beginning.user_id)
    send_by = func.clock_timestamp() + beginning.send_window  # it may have waited for others of the user's
    row = await tx.execute(
        insert(intents)
        .values(
            id=UUID(bytes=random_bytes(16), version=4),
            user_id=beginning.user_id,
            action=beginning.action,
            idempotency_key=beginning.repeatable.key if beginning.repeatable else None,
            fingerprint=beginning.repeatable.fingerprint if beginning.repeatable else None,
            terms=dict(beginning.terms),
            likeness=beginning.likeness,
            order_no=beginning.order_no,
            correlation=_new_correlation() if beginning.action is Action.PLACE else None,
            trading_day=_TODAY,
            created_at=func.now(),
            send_by=send_by,
            doubtful_at=send_by + beginning.patience,
            state=SENDING,
            is_watched=True,
        )
        .returning(*_COLUMNS)
    )
    return _intent(row.one())


async def find_by_key(tx: AsyncConnection, user_id: str, key: str) -> Intent | None:
    return await _one(tx, select(*_COLUMNS).where(_i.user_id == user_id, _i.idempotency_key == key))


async def find(tx: AsyncConnection, user_id: str, intent_id: UUID) -> Intent | None:
    """Return an intent of this very user."""
    return await _one(tx, select(*_COLUMNS).where(_i.user_id == user_id, _i.id == intent_id))


async def find_unknown_like(tx: AsyncConnection, user_id: str, like: bytes) -> UUID | None:
    """Return an equal order of the user's of which nobody knows what became, or that has not been answered at once."""
    is_open = or_(_i.state == Outcome.UNKNOWN, and_(_i.state == SENDING, _i.send_by <= func.clock_timestamp()))
    found: UUID | None = await tx.scalar(
        select(_i.id).where(_i.user_id == user_id, _i.action == Action.PLACE, _i.likeness == like, is_open).limit(1)
    )
    return found


async def count_today(tx: AsyncConnection, user_id: str) -> int:
    """Return how many orders the user has placed on this trading day, whatever became of them."""
    found = await tx.scalar(
        select(func.count()).where(_i.user_id == user_id, _i.trading_day == _TODAY, _i.action == Action.PLACE)
    )
    return int(found or 0)


async def settle(
    tx: AsyncConnection,
    intent_id: UUID,
    outcome: Outcome,
    reason: str | None,
    by: ResolvedBy,
    *,
    is_watched: bool,
) -> Intent | None:
    """Write down what became of an intent, unless something better is known already; none if it is.

    Unknown never overwrites what is known, a refusal never what was accepted; an acceptance overrides everything.
    """
    from_states = {
        Outcome.UNKNOWN: [SENDING],
        Outcome.REFUSED: [SENDING, Outcome.UNKNOWN],
        Outcome.ACCEPTED: [SENDING, Outcome.UNKNOWN, Outcome.REFUSED],
    }[outcome]
    is_known = outcome is not Outcome.UNKNOWN
    settled = await _one(
        tx,
        update(intents)
        .where(_i.id == intent_id, _i.state.in_(from_states))
        .values(
            state=outcome,
            reason=reason,
            resolved_at=func.now() if is_known else None,
            resolved_by=by if is_known else None,
            is_watched=is_watched,
            candidates=[],
            absent_since=None,
        )
        .returning(*_COLUMNS),
    )
    if settled:
        await _raise_epoch(tx, settled.user_id)
    return settled


async def _raise_epoch(tx: AsyncConnection, user_id: str) -> None:
    """Tell every replica that what the broker said of a user before may be so no more; each session look-up reads it.

    Once as an intent is written, and once more with its outcome: a book read in between may be of before or after.
    """
    await tx.execute(
        update(users)
        .where(users.c.id == user_id)
        .values(book_epoch=users.c.book_epoch + 1, ordered_at=func.clock_timestamp())
    )


async def annotate(tx: AsyncConnection, intent: Intent, **changed: object) -> None:
    """Write down what a look at the book has brought for an intent that it did not settle."""
    differing = {name: value for name, value in changed.items() if getattr(intent, name) != value}
    if differing:
        await tx.execute(update(intents).where(_i.id == intent.id, _i.state == intent.state).values(**differing))


async def stop_watching(tx: AsyncConnection, intent_id: UUID) -> None:
    """Write down that everything there is to know of an intent is known."""
    await tx.execute(update(intents).where(_i.id == intent_id).values(is_watched=False))


async def want_cancelled(tx: AsyncConnection, intent_id: UUID) -> None:
    """Write down that whatever turns up of a placement is to be cancelled."""
    await tx.execute(
        update(intents)
        .where(_i.id == intent_id)
        .values(cancel_wanted_at=func.coalesce(_i.cancel_wanted_at, func.now()), is_watched=True)
    )


async def watched(tx: AsyncConnection, user_id: str) -> list[Intent]:
    """Return what the reconciler looks after for a user, oldest first; not what a sender may still answer for."""
    is_sent = or_(_i.state != SENDING, _i.doubtful_at <= func.clock_timestamp())
    rows = await tx.execute(
        select(*_COLUMNS).where(_i.user_id == user_id, _i.is_watched, is_sent).order_by(_i.created_at)
    )
    return [_intent(row) for row in rows]


async def correlations(tx: AsyncConnection, user_id: str, day: date) -> dict[str, UUID]:
    """Return which placement of the day each of our correlations belongs to."""
    rows = await tx.execute(
        select(_i.correlation, _i.id).where(_i.user_id == user_id, _i.trading_day == day, _i.correlation.is_not(None))
    )
    return {str(row.correlation): row.id for row in rows}


async def cancels_of(
    tx: AsyncConnection, user_id: str, order_nos: list[str], since: datetime
) -> dict[str, list[Intent]]:
    """Return the cancels of each of these orders that have been begun since then."""
    rows = await tx.execute(
        select(*_COLUMNS).where(
            _i.user_id == user_id, _i.action == Action.CANCEL, _i.order_no.in_(order_nos), _i.created_at >= since
        )
    )
    found: dict[str, list[Intent]] = {}
    for row in rows:
        found.setdefault(row.order_no, []).append(_intent(row))
    return found


async def list_placements(tx: AsyncConnection, user_id: str, page: Page) -> tuple[list[Intent], str | None]:
    """Return the placements of a page and the cursor of the next one; raises `InvalidRequest`."""
    wanted = select(*_COLUMNS).where(_i.user_id == user_id, _i.action.in_(page.actions))
    if page.outcome:
        states = [page.outcome, SENDING] if page.outcome is Outcome.UNKNOWN else [page.outcome]
        wanted = wanted.where(_i.state.in_(states))
    if page.first:
        wanted = wanted.where(_i.created_at >= page.first)
    if page.last:
        wanted = wanted.where(_i.created_at < page.last)
    if page.cursor:
        at, intent_id = read_cursor(page.cursor)
        wanted = wanted.where(or_(_i.created_at < at, and_(_i.created_at == at, _i.id < intent_id)))
    rows = (await tx.execute(wanted.order_by(_i.created_at.desc(), _i.id.desc()).limit(page.limit + 1))).all()
    found = [_intent(row) for row in rows[: page.limit]]
    return found, cursor_after(found[-1].created_at, found[-1].id) if len(rows) > page.limit else None


async def list_unresolved(tx: AsyncConnection) -> list[Intent]:
    """Return everything of everybody that is unknown, oldest first."""
    return [_intent(row) for row in await tx.execute(select(*_COLUMNS).where(_is_unknown()).order_by(_i.created_at))]


async def count_unresolved(tx: AsyncConnection) -> list[Unknowns]:
    """Return what is unknown, counted over all users."""
    is_of_today = _i.trading_day == _TODAY
    rows = await tx.execute(
        select(
            _i.action,
            is_of_today,
            func.count(),
            func.extract("epoch", func.now() - func.min(_i.created_at)),
            func.sum(func.cardinality(_i.candidates)),
        )
        .where(_is_unknown())
        .group_by(_i.action, is_of_today)
    )
    return [Unknowns(action, today, count, float(age), int(named)) for action, today, count, age, named in rows]


async def find_any(tx: AsyncConnection, intent_id: UUID) -> Intent | None:
    """Return an intent, whosever it is."""
    return await _one(tx, select(*_COLUMNS).where(_i.id == intent_id))


def _new_correlation() -> str:
    """Return eighty random bits that nobody else writes into an order's remarks: seventeen letters and digits."""
    return "P" + base64.b32encode(random_bytes(10)).decode()


def _is_unknown() -> ColumnElement[bool]:
    """Say of a row that nobody knows its outcome, nor waits for its sender any more."""
    return or_(_i.state == Outcome.UNKNOWN, and_(_i.state == SENDING, _i.doubtful_at <= func.clock_timestamp()))


async def _one(tx: AsyncConnection, statement: Select[Any] | Any) -> Intent | None:
    row = (await tx.execute(statement)).one_or_none()
    return _intent(row) if row else None


def _intent(row: Row[*tuple[Any, ...]]) -> Intent:
    return Intent(**{**row._mapping, "action": Action(row.action)})  # noqa: SLF001  # SQLAlchemy's documented way
