"""Intents in Postgres, read, listed and annotated in the caller's transaction; acting_store.py begins and settles them.

Every moment is the store's own clock, which all replicas share.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Row, Select, Text, and_, bindparam, cast, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.orders.intents import SENDING, Action, Intent, Page, Unknowns
from app.paging import cursor_after, read_cursor
from app.tables import intents
from app.trading import Outcome

_i = intents.c
COLUMNS = (
    _i.id, _i.user_id, _i.action, _i.fingerprint, _i.terms, _i.order_no, _i.correlation, _i.trading_day,
    _i.created_at, _i.doubtful_at, _i.state, _i.reason, _i.resolved_at, _i.is_watched, _i.candidates,
    _i.absent_since, _i.cancel_wanted_at, func.clock_timestamp().label("now"),
)  # fmt: skip
"""In the order of an `Intent`."""
_COUNT = len(COLUMNS)
TODAY = cast(func.timezone("Asia/Kolkata", func.now()), Date)


async def find(tx: AsyncConnection, user_id: str, intent_id: UUID) -> Intent | None:
    """Return an intent of this very user."""
    return await _one(tx, select(*COLUMNS).where(_i.user_id == user_id, _i.id == intent_id))


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


_is_sent = or_(_i.state != SENDING, _i.doubtful_at <= func.clock_timestamp())
_WATCHED = (
    select(*COLUMNS)
    .where(_i.user_id == bindparam("of_user", type_=Text), _i.is_watched, _is_sent)
    .order_by(_i.created_at)
)


async def watched(tx: AsyncConnection, user_id: str) -> list[Intent]:
    """Return what the reconciler looks after for a user, oldest first; not what a sender may still answer for."""
    return [intent_of(row) for row in await tx.execute(_WATCHED, {"of_user": user_id})]


_CORRELATIONS = select(_i.correlation, _i.id).where(
    _i.user_id == bindparam("of_user"), _i.trading_day == bindparam("on_day"), _i.correlation.is_not(None)
)


async def correlations(tx: AsyncConnection, user_id: str, day: date) -> dict[str, UUID]:
    """Return which placement of the day each of our correlations belongs to."""
    rows = await tx.execute(_CORRELATIONS, {"of_user": user_id, "on_day": day})
    return {str(row.correlation): row.id for row in rows}


async def cancels_of(
    tx: AsyncConnection, user_id: str, order_nos: list[str], since: datetime
) -> dict[str, list[Intent]]:
    """Return the cancels of each of these orders that have been begun since then."""
    rows = await tx.execute(
        select(*COLUMNS).where(
            _i.user_id == user_id, _i.action == Action.CANCEL, _i.order_no.in_(order_nos), _i.created_at >= since
        )
    )
    found: dict[str, list[Intent]] = {}
    for row in rows:
        found.setdefault(row.order_no, []).append(intent_of(row))
    return found


async def list_placements(tx: AsyncConnection, user_id: str, page: Page) -> tuple[list[Intent], str | None]:
    """Return the placements of a page and the cursor of the next one; raises `InvalidRequest`."""
    wanted = select(*COLUMNS).where(_i.user_id == user_id, _i.action.in_(page.actions))
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
    found = [intent_of(row) for row in rows[: page.limit]]
    return found, cursor_after(found[-1].created_at, found[-1].id) if len(rows) > page.limit else None


async def list_unresolved(tx: AsyncConnection) -> list[Intent]:
    """Return everything of everybody that is unknown, oldest first."""
    return [intent_of(row) for row in await tx.execute(select(*COLUMNS).where(_is_unknown()).order_by(_i.created_at))]


async def count_unresolved(tx: AsyncConnection) -> list[Unknowns]:
    """Return what is unknown, counted over all users."""
    is_of_today = _i.trading_day == TODAY
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
    return await _one(tx, select(*COLUMNS).where(_i.id == intent_id))


def _is_unknown() -> ColumnElement[bool]:
    """Say of a row that nobody knows its outcome, nor waits for its sender any more."""
    return or_(_i.state == Outcome.UNKNOWN, and_(_i.state == SENDING, _i.doubtful_at <= func.clock_timestamp()))


async def _one(tx: AsyncConnection, statement: Select[Any] | Any) -> Intent | None:
    row = (await tx.execute(statement)).one_or_none()
    return intent_of(row) if row else None


def intent_of(row: Row[*tuple[Any, ...]]) -> Intent:
    """Return the intent that a row tells which begins with `COLUMNS`."""
    intent_id, user_id, action, *others = row[:_COUNT]
    return Intent(intent_id, user_id, Action(action), *others)
