"""Whose intents need a look at the broker's book, and which replica looks: a row per user, claimed with a lease.

A replica that dies in the middle of a look leaves a lease that runs out; another takes over. Every moment is the
store's own clock.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import DateTime, and_, case, cast, exists, func, literal, or_, select, update
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


async def watch_from(tx: AsyncConnection, user_id: str, moment: datetime) -> None:
    """See to it that somebody looks at `moment` at the latest, whatever becomes of the sender."""
    await tx.execute(
        upsert(watches)
        .values(user_id=user_id, next_look_at=moment, watched_since=func.now())
        .on_conflict_do_update(
            index_elements=[_w.user_id],
            set_={"next_look_at": func.least(_w.next_look_at, literal(moment)), "watched_since": func.now()},
        )
    )


async def look_soon(tx: AsyncConnection, user_id: str, within: timedelta, *, is_urgent: bool) -> None:
    """Ask for a look `within` a time; one that is not urgent joins another that is planned shortly anyway."""
    wanted = func.now() + within
    is_planned = _w.next_look_at <= func.now() + (timedelta(0) if is_urgent else _RESTS)
    await tx.execute(
        update(watches)
        .where(_w.user_id == user_id)
        .values(
            next_look_at=case((is_planned, _w.next_look_at), else_=func.least(_w.next_look_at, wanted)),
            watched_since=func.now(),
        )
    )


async def is_watched(tx: AsyncConnection, user_id: str) -> bool:
    """Say whether an intent of the user's is under way, unknown or still looked after."""
    open_states = intents.c.state.in_(["sending", "unknown"])
    return bool(await tx.scalar(
        select(exists(select(literal(1)).where(intents.c.user_id == user_id, or_(intents.c.is_watched, open_states))))
    ))  # fmt: skip


async def claim(tx: AsyncConnection, most: int, lease: timedelta) -> list[Claim]:
    """Take users whose look is due: by time, or because a broker session has come back for one that waited for it."""
    has_session = (
        select(1)
        .where(
            broker_sessions.c.user_id == _w.user_id,
            broker_sessions.c.ended_at.is_(None),
            broker_sessions.c.expires_at > func.now(),
        )
        .exists()
    )
    is_due = or_(_w.next_look_at <= func.now(), and_(_w.next_look_at.is_(None), has_session))
    is_free = or_(_w.lease_until.is_(None), _w.lease_until <= func.now())
    due = select(_w.user_id).where(is_due, is_free).order_by(_w.next_look_at).limit(most)
    taken = due.with_for_update(skip_locked=True).cte("taken")  # which runs once, whatever the plan
    until = func.now() + lease
    rows = await tx.execute(
        update(watches)
        .where(_w.user_id.in_(select(taken.c.user_id)))
        .values(lease_until=until, next_look_at=until)
        .returning(_w.user_id, _w.lease_until, _w.watched_since, _w.echo_seen_on)
    )
    return [Claim(*row) for row in rows]


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
