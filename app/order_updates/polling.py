"""Looks at the books of those who listen or have an open order: the fallback that works without any hint.

At low priority: a look leaves half of every limit to whoever asks for something. It is counted like every call, and
goes after one user by one replica at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Never

from app import measures
from app.db import Database
from app.observability import logger
from app.order_updates import looks_store
from app.order_updates.looks_store import Claim
from app.orderbook.reading import read_book
from app.problems import BrokerSessionExpired, Problem
from app.rounds import Rounds
from app.sessions.asking import Investor

_log = logger("polling")

_LEASE = timedelta(seconds=25)
_LOOK_DEADLINE = 20.0  # seconds; shorter than the lease, so that nobody looks without one
_AFTER_PROBLEM = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(minutes=5)


class Polling:
    """The loop of one replica."""

    def __init__(self, db: Database, investor_of: Callable[[str], Awaitable[Investor]], pace: timedelta) -> None:
        self._db = db
        self._investor = investor_of
        self._pace = pace
        self._rounds = Rounds[Claim](_log, self._claim, self._look)

    async def run(self) -> Never:
        """Look, for ever; whatever is wrong is told and survived."""
        await self._rounds.run()

    def wake(self) -> None:
        """Look at once whether anything is due."""
        self._rounds.wake()

    async def aclose(self) -> None:
        """Stop the looks under way; their leases end by themselves."""
        await self._rounds.aclose()

    async def _claim(self, free: int) -> list[Claim]:
        async with self._db.transaction() as tx:
            return await looks_store.claim(tx, free, _LEASE)

    async def _look(self, claimed: Claim) -> None:
        try:
            async with asyncio.timeout(_LOOK_DEADLINE):
                await read_book(await self._investor(claimed.user_id))
        except BrokerSessionExpired:
            measures.book_polled("session-expired")
            await self._put_off(claimed, None)  # until he has signed in again
        except (Problem, TimeoutError) as problem:
            measures.book_polled("put-off")
            _log.debug("look_put_off", user=claimed.user_id, reason=getattr(problem, "slug", "deadline"))
            await self._put_off(claimed, _wait_of(problem))
        else:
            measures.book_polled("done")
            async with self._db.transaction() as tx:
                await looks_store.release(tx, claimed, self._pace, _LEASE)

    async def _put_off(self, claimed: Claim, wait: timedelta | None) -> None:
        async with self._db.transaction() as tx:
            await looks_store.put_off(tx, claimed, wait, _LEASE)


def _wait_of(problem: Exception) -> timedelta:
    told = problem.headers.get("Retry-After") if isinstance(problem, Problem) else None
    wait = timedelta(seconds=int(told)) if told and told.isdigit() else _AFTER_PROBLEM
    return min(max(wait, _AFTER_PROBLEM), _LONGEST_WAIT)
