"""Whose book is to be looked at for its changes, and which replica looks: a row per user, claimed with a lease.

A look is due while somebody listens or an order is open, at a pace; after a hint; and when a sight was dropped. Every
moment is the store's own clock; the caller brings the transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Text, and_, case, cast, func, literal, null, or_, select, update
from sqlalchemy import Interval as SqlInterval
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.safeguards.blocks import is_blocked
from app.tables import book_looks, broker_sessions, users, webhooks

LISTENED_FOR = timedelta(seconds=45)
"""For how long listeners count as there after they were last said to be."""

_l = book_looks.c
_SHORTEST_GAP, _LONGEST_GAP = 1.0, 30.0
"""Seconds that a hint waits after a look: twice as long each time that hints brought nothing."""
_PROVED_FOR = timedelta(minutes=15)
_LISTENED, _OPEN, _PROVED = 3, 6, 3
"""How many times slower it goes where no order is open, where nobody listens, and where the broker's hints come."""
_SETTLED = timedelta(seconds=5)
_SECOND = timedelta(seconds=1)
_IS_LISTENED = _l.listened_until > func.now()


@dataclass(frozen=True)
class Claim:
    """One user's book, ours to look at until the lease ends; `last_event` is his newest when it was claimed."""

    user_id: str
    lease_until: datetime
    hinted_at: datetime | None
    looked_at: datetime | None
    last_event: int

    @property
    def is_hinted(self) -> bool:
        return self.hinted_at is not None and (self.looked_at is None or self.hinted_at > self.looked_at)


async def listen(tx: AsyncConnection, user_ids: Collection[str]) -> None:
    """Say that these users have listeners here; whoever had none is looked at now, unless he has just been."""
    ids = func.unnest(cast(sorted(user_ids), ARRAY(Text)))
    is_new = or_(_l.listened_until.is_(None), ~_IS_LISTENED)
    at_once = func.least(_l.next_look_at, func.greatest(func.now(), _l.looked_at + _SETTLED))
    until = func.now() + LISTENED_FOR
    await tx.execute(
        upsert(book_looks)
        .from_select(["user_id", "listened_until", "next_look_at"], select(ids, until, func.now()))
        .on_conflict_do_update(
            index_elements=[_l.user_id],
            set_={
                "listened_until": until,
                "next_look_at": case((is_new, at_once), else_=func.coalesce(_l.next_look_at, func.now() + _SETTLED)),
            },
        )
    )


async def hint(tx: AsyncConnection, token_hashes: Collection[bytes]) -> None:
    """Have the books looked at of those to whom these addresses of ours belong, where they have a broker session."""
    b = broker_sessions.c
    hinted = (
        select(b.user_id, func.now(), func.now())
        .join(webhooks, webhooks.c.user_id == b.user_id)
        .where(webhooks.c.token_hash.in_(list(token_hashes)), b.ended_at.is_(None), b.expires_at > func.now())
        .order_by(b.user_id)
    )
    await tx.execute(
        upsert(book_looks)
        .from_select(["user_id", "hinted_at", "next_look_at"], hinted)
        .on_conflict_do_update(
            index_elements=[_l.user_id], set_={"hinted_at": func.now(), "next_look_at": _after_gap(_l.hint_gap)}
        )
    )


async def nudge(tx: AsyncConnection, user_ids: Collection[str], *, also_unheard: bool) -> None:
    """Have the books looked at of those of these users who have listeners, or an open order where that is wanted."""
    wanted = or_(_IS_LISTENED, _l.has_open) if also_unheard else _IS_LISTENED
    taken = select(_l.user_id).where(_l.user_id.in_(list(user_ids)), wanted).order_by(_l.user_id).with_for_update()
    await tx.execute(
        update(book_looks)
        .where(_l.user_id.in_(select(taken.cte("taken").c.user_id)))
        .values(next_look_at=_after_gap(literal(_SHORTEST_GAP)))
    )


async def claim(tx: AsyncConnection, most: int, lease: timedelta) -> list[Claim]:
    """Take users whose look is due, those first of whom there is a hint; nobody who is blocked."""
    is_free = or_(_l.lease_until.is_(None), _l.lease_until <= func.now())
    is_followed = or_(_l.hinted_at.is_(None), _l.hinted_at <= _l.looked_at)
    hinted_first = case((is_followed, 1), else_=0)
    due = (
        select(_l.user_id)
        .where(_l.next_look_at <= func.now(), is_free, ~is_blocked(_l.user_id))
        .order_by(hinted_first, _l.next_look_at)
        .limit(most)
    )
    taken = due.with_for_update(skip_locked=True).cte("taken")  # which runs once, whatever the plan
    until = func.now() + lease
    rows = await tx.execute(
        update(book_looks)
        .where(_l.user_id.in_(select(taken.c.user_id)))
        .values(lease_until=until, next_look_at=until)
        .returning(_l.user_id, _l.lease_until, _l.hinted_at, _l.looked_at, _last_event())
    )
    return [Claim(*row) for row in rows]


async def release(tx: AsyncConnection, claimed: Claim, pace: timedelta, lease: timedelta) -> None:
    """Give a user back whose book was looked at; `pace` is that of the looks for a listener with an open order."""
    is_news = _last_event() > claimed.last_event
    gap = case(
        (is_news, _SHORTEST_GAP),
        else_=func.least(_l.hint_gap * 2, _LONGEST_GAP) if claimed.is_hinted else _l.hint_gap,
    )
    proved_at = case((is_news, func.now()), else_=_l.hint_proved_at) if claimed.is_hinted else _l.hint_proved_at
    await _give_back(
        tx,
        claimed,
        func.least(_by_pace(pace), _asked_meanwhile(claimed, lease, gap)),
        looked_at=func.now(),
        hint_gap=gap,
        hint_proved_at=proved_at,
    )


async def put_off(tx: AsyncConnection, claimed: Claim, wait: timedelta | None, lease: timedelta) -> None:
    """Give a user back whose book was not to be had, until a time or, with none, until somebody wants it again.

    Hints wait longer as well: those who ask for what can't be had must not have it asked for all the time.
    """
    gap = func.least(_l.hint_gap * 2, _LONGEST_GAP)
    planned = func.now() + wait if wait is not None else _asked_meanwhile(claimed, lease, gap)
    await _give_back(tx, claimed, planned, looked_at=func.now(), hint_gap=gap)


async def _give_back(tx: AsyncConnection, claimed: Claim, next_look_at: ColumnElement[Any], **seen: object) -> None:
    await tx.execute(
        update(book_looks)
        .where(_l.user_id == claimed.user_id, _l.lease_until == claimed.lease_until)
        .values(lease_until=None, next_look_at=next_look_at, **seen)
    )


def _by_pace(pace: timedelta) -> ColumnElement[Any]:
    """Return when the next look is due that nobody asks for; none where nobody listens and nothing is open."""
    slower = case((and_(_IS_LISTENED, _l.has_open), 1), (_IS_LISTENED, _LISTENED), (_l.has_open, _OPEN), else_=null())
    hinted = case((_l.hint_proved_at > func.now() - _PROVED_FOR, _PROVED), else_=1)
    return func.now() + slower * hinted * cast(pace, SqlInterval)


def _after_gap(gap: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return when a look is due that is asked for: seconds after the last one, unless one is due before."""
    return func.least(_l.next_look_at, func.greatest(func.now(), _l.looked_at + gap * _SECOND))


def _asked_meanwhile(claimed: Claim, lease: timedelta, gap: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return when a look is due that was asked for since the claim: at its own time, but after the gap at least."""
    is_hinted = _l.hinted_at > claimed.lease_until - lease
    is_earlier = _l.next_look_at < _l.lease_until  # the claim has made them equal
    its_time = case((is_earlier, _l.next_look_at), else_=func.now())
    return case((or_(is_hinted, is_earlier), func.greatest(its_time, func.now() + gap * _SECOND)), else_=_never())


def _last_event() -> ColumnElement[int]:
    return select(users.c.last_event).where(users.c.id == _l.user_id).scalar_subquery()


def _never() -> ColumnElement[Any]:
    return cast(null(), DateTime(timezone=True))
