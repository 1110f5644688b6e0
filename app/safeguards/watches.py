"""Whose intents need a look at the broker's book, and which replica looks: a row per user, claimed with a lease.

A replica that dies in the middle of a look leaves a lease that runs out; another takes over. Every moment is the
store's own clock.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import (
    CTE,
    DateTime,
    Integer,
    Interval,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import broker_sessions, intents, watches

_w = watches.c
_LONGEST_WAIT = timedelta(minutes=10)
_RESTS = timedelta(seconds=10)
"""How soon after another look an accepted order may ask for its own: the broker's limits are everybody's."""


@dataclass(frozen=True)
class Claim:
    """One user's intents, ours to look after until the lease ends."""

    user_id: str
    lease_until: datetime
    watched_since: datetime
    echo_seen_on: date | None


def watching(begun: CTE) -> CTE:
    """Return what sees to it that somebody looks at an intent when it gets doubtful, whatever becomes of its sender.

    A part of the statement that writes the intents `begun`, and done after that part.
    """
    planned = select(begun.c.user_id, begun.c.doubtful_at, func.now())
    watched = upsert(watches).from_select(["user_id", "next_look_at", "watched_since"], planned)
    sooner = func.least(_w.next_look_at, watched.excluded.next_look_at)
    return watched.on_conflict_do_update(
        index_elements=[_w.user_id], set_={"next_look_at": sooner, "watched_since": func.now()}
    ).cte("watched")


_is_planned = _w.next_look_at <= func.now() + bindparam("rest", type_=Interval)
_wanted = func.now() + bindparam("within", type_=Interval)
_LOOK_SOON = (
    update(watches)
    .where(_w.user_id == bindparam("of_user"))
    .values(
        next_look_at=case((_is_planned, _w.next_look_at), else_=func.least(_w.next_look_at, _wanted)),
        watched_since=func.now(),
    )
)


async def look_soon(tx: AsyncConnection, user_id: str, within: timedelta, *, is_urgent: bool) -> None:
    """Ask for a look `within` a time; one that is not urgent joins another that is planned shortly anyway."""
    rest = AT_ONCE if is_urgent else _RESTS
    await tx.execute(_LOOK_SOON, {"of_user": user_id, "within": within, "rest": rest})


async def is_watched(tx: AsyncConnection, user_id: str) -> bool:
    """Say whether an intent of the user's is under way, unknown or still looked after."""
    open_states = intents.c.state.in_(["sending", "unknown"])
    return bool(await tx.scalar(
        select(exists(select(literal(1)).where(intents.c.user_id == user_id, or_(intents.c.is_watched, open_states))))
    ))  # fmt: skip


_has_session = (
    select(1)
    .where(
        broker_sessions.c.user_id == _w.user_id,
        broker_sessions.c.ended_at.is_(None),
        broker_sessions.c.expires_at > func.now(),
    )
    .exists()
)
_is_due = or_(_w.next_look_at <= func.now(), and_(_w.next_look_at.is_(None), _has_session))
_is_free = or_(_w.lease_until.is_(None), _w.lease_until <= func.now())
_due = select(_w.user_id).where(_is_due, _is_free).order_by(_w.next_look_at).limit(bindparam("most", type_=Integer))
_taken = _due.with_for_update(skip_locked=True).cte("taken")  # which runs once, whatever the plan
_until = func.now() + bindparam("lease", type_=Interval)
_CLAIM = (
    update(watches)
    .where(_w.user_id.in_(select(_taken.c.user_id)))
    .values(lease_until=_until, next_look_at=_until)
    .returning(_w.user_id, _w.lease_until, _w.watched_since, _w.echo_seen_on)
)


async def claim(tx: AsyncConnection, most: int, lease: timedelta) -> list[Claim]:
    """Take users whose look is due: by time, or because a broker session has come back for one that waited for it."""
    return [Claim(*row) for row in await tx.execute(_CLAIM, {"most": most, "lease": lease})]


async def rescue(tx: AsyncConnection) -> int:
    """Have looked after whatever nobody waits for any more and nobody plans to look at; return for how many users.

    There should be none. An order is too dear to rest on that alone.
    """
    is_lost = exists().where(
        intents.c.user_id == _w.user_id, intents.c.state == "sending", intents.c.doubtful_at <= func.now()
    )
    found = await tx.execute(
        update(watches).where(_w.next_look_at > func.now() + _LONGEST_WAIT, is_lost).values(next_look_at=func.now())
    )
    return found.rowcount


async def release(tx: AsyncConnection, claimed: Claim, wait: timedelta | None) -> None:
    """Give a user back until his next look, or with none until his next sign-in; a look asked for meanwhile stays."""
    planned = cast(None, DateTime(timezone=True)) if wait is None else func.now() + wait
    # What is still being sent may need a look that nobody plans again; LEAST passes over what is none.
    first_doubt = select(func.min(intents.c.doubtful_at)).where(
        intents.c.user_id == claimed.user_id, intents.c.state == "sending"
    )
    # An intent begun since the claim has moved `watched_since`, even where its own look comes no sooner.
    is_untouched = and_(_w.next_look_at == claimed.lease_until, _w.watched_since == claimed.watched_since)
    await tx.execute(
        update(watches)
        .where(_w.user_id == claimed.user_id, _w.lease_until == claimed.lease_until)
        .values(
            lease_until=None,
            next_look_at=case(
                (is_untouched, func.least(planned, first_doubt.scalar_subquery())), else_=_w.next_look_at
            ),
        )
    )


async def remember_echo(tx: AsyncConnection, user_id: str, day: date) -> None:
    """Write down that the broker has been seen today to echo a correlation of this user's."""
    await tx.execute(update(watches).where(_w.user_id == user_id).values(echo_seen_on=day))


AT_ONCE = timedelta(0)
NEVER = timedelta(days=365_000)
"""How long nobody need look where nothing is open."""
