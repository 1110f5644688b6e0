"""Keeps looking after whatever somebody has to be told later: on every replica, and after one user by one at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Never

from app import measures
from app.clock import monotonic
from app.db import Database
from app.observability import logger
from app.orders.acting import Actor
from app.orders.cancelling import cancel_what_turned_up
from app.orders.intents import Intent
from app.orders.reconciling import Reconciler
from app.problems import BrokerSessionExpired, Problem
from app.rounds import Rounds, safely
from app.safeguards import watches
from app.safeguards.watches import NEVER, Claim
from app.sessions.asking import Investor
from app.trading import Outcome

_log = logger("reconciler")

_RESCUE_EVERY = 60.0
_LEASE = timedelta(seconds=25)
_LOOK_DEADLINE = 20.0  # seconds; shorter than the lease, so that nobody looks without one
_AFTER_FAULT = timedelta(seconds=30)

_UNKNOWN_PACE = ((60, 5), (600, 15), (3600, 60), (float("inf"), 300))
_ACCEPTED_PACE = ((60, 10), (600, 60), (float("inf"), 300))
"""Up to so many seconds after the last news, a look every so many seconds."""


@dataclass(frozen=True)
class Wait:
    """How long to wait before the next look; none: until the user has signed in again."""

    time: timedelta | None

    def after(self, seconds: float) -> "Wait":
        """Return what is left of it when some of it is over: a pace counts from look to look."""
        return self if self.time is None else Wait(max(self.time - timedelta(seconds=seconds), timedelta(0)))


class Watching:
    """The loop of one replica."""

    def __init__(self, db: Database, investor_of: Callable[[str], Awaitable[Investor]], actor: Actor) -> None:
        self._db = db
        self._investor = investor_of
        self._actor = actor
        self._reconciler = Reconciler(db, actor)
        self._rounds = Rounds[Claim](_log, self._claim, self._look_and_release)

    async def run(self) -> Never:
        """Look, for ever; whatever is wrong is told and survived."""
        async with asyncio.TaskGroup() as group:
            rescuing = group.create_task(self._keep_rescuing())
            try:
                await self._rounds.run()
            finally:
                rescuing.cancel()

    async def aclose(self) -> None:
        """Stop the looks under way; their leases end by themselves."""
        await self._rounds.aclose()

    async def _keep_rescuing(self) -> Never:
        while True:
            await safely(_log, self._rescue(), "rescue_failed")
            await asyncio.sleep(_RESCUE_EVERY)

    async def _rescue(self) -> None:
        async with self._db.transaction() as tx:
            if found := await watches.rescue(tx):
                _log.error("looks_had_been_forgotten", users=found)

    async def _claim(self, free: int) -> list[Claim]:
        async with self._db.transaction() as tx:
            return await watches.claim(tx, free, _LEASE)

    async def _look_and_release(self, claimed: Claim) -> None:
        began_at = monotonic()
        found = await safely(_log, self._look(claimed), "look_failed")
        if found is None:
            measures.reconciler_looked("failed")
        wait = found or Wait(_AFTER_FAULT)
        await self._release(claimed, wait.after(monotonic() - began_at))  # else the lease ends by itself

    async def _release(self, claimed: Claim, wait: Wait) -> None:
        async with self._db.transaction() as tx:
            await watches.release(tx, claimed, wait.time)

    async def _look(self, claimed: Claim) -> Wait:
        """Look once; return how long to wait before the next look."""
        investor = await self._investor(claimed.user_id)
        try:
            async with asyncio.timeout(_LOOK_DEADLINE):
                cancel = partial(cancel_what_turned_up, self._actor, investor)
                still_open = await self._reconciler.look(investor, claimed, cancel)
        except BrokerSessionExpired:
            measures.reconciler_looked("session-expired")
            return await self._after_expiry(claimed.user_id)
        except (Problem, TimeoutError) as problem:
            _log.info("look_put_off", user=claimed.user_id, reason=getattr(problem, "slug", "deadline"))
            measures.reconciler_looked("put-off")
            return _next_look(claimed, has_unknown=True)
        measures.reconciler_looked("done")
        if not still_open:
            return Wait(NEVER)
        return _next_look(claimed, has_unknown=_has_unknown(still_open))

    async def _after_expiry(self, user_id: str) -> Wait:
        """Wait for the next sign-in, unless a session stands there that only we can't use."""
        investor = await self._investor(user_id)
        return Wait(_AFTER_FAULT if investor.has_live_session else None)


def _has_unknown(intents: list[Intent]) -> bool:
    return any(each.outcome is Outcome.UNKNOWN for each in intents)


def _next_look(claimed: Claim, *, has_unknown: bool) -> Wait:
    """Return how long to wait before looking again: seconds while the news is fresh, then minutes."""
    pace = _UNKNOWN_PACE if has_unknown else _ACCEPTED_PACE
    age = (claimed.lease_until - _LEASE - claimed.watched_since).total_seconds()
    return Wait(timedelta(seconds=next(wait for until, wait in pace if age < until)))
