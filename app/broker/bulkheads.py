"""Each class of calls has its own room: what hangs there stands before nobody else.

A call that finds no room waits a moment in a short line and is then refused, with nothing sent and no permit spent.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app import measures
from app.broker.paths import RouteClass
from app.limits import Urgency
from app.problems import TemporarilyUnavailable

LONGEST_WAIT = 1.0
"""Seconds in the line; whoever waited longer would hardly be answered in time."""


class Bulkhead:
    """Room for so many calls at a time; as many more may wait."""

    def __init__(self, room: int, wait: float = LONGEST_WAIT) -> None:
        self._room = room
        self._free = asyncio.Semaphore(room)
        self._wait = wait
        self._inside = 0
        self._waiting = 0

    @asynccontextmanager
    async def place(self, route: RouteClass, urgency: Urgency) -> AsyncIterator[None]:
        """Take a place for one call; raises `TemporarilyUnavailable` where there is none in time.

        What is idle takes no place of the last half, and never waits.
        """
        is_idle = urgency is Urgency.IDLE
        if (is_idle and self._inside * 2 >= self._room) or not await self._has_come_in(may_wait=not is_idle):
            measures.bulkhead_refused(route)
            raise TemporarilyUnavailable("Too many calls of this kind wait for the broker.", wait=1.0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._free.release()

    async def _has_come_in(self, *, may_wait: bool) -> bool:
        if not self._free.locked():
            return await self._free.acquire()  # at once
        if not may_wait or self._waiting >= self._room:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                return await self._free.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
