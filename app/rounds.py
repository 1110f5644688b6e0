"""Work that comes round again and again, on every replica: whatever is due is claimed, and each piece fails alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Never, TypeVar

from structlog.stdlib import BoundLogger

from app import measures
from app.clock import random_bytes
from app.observability import begin_errand
from app.problems import TemporarilyUnavailable

C = TypeVar("C")
T = TypeVar("T")

_EVERY = 0.5  # seconds between two questions to the database whether anything is due
_MOST_AT_ONCE = 16  # pieces that one replica works at, at the same time


class Rounds(Generic[C]):
    """The loop of one replica: `claim` takes what is due, at most so much, and `work` is done for each piece of it."""

    def __init__(
        self,
        log: BoundLogger,
        claim: Callable[[int], Awaitable[list[C]]],
        work: Callable[[C], Awaitable[None]],
    ) -> None:
        self._log = log
        self._claim = claim
        self._work = work
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_wanted = asyncio.Event()

    async def run(self) -> Never:
        """Go round, for ever."""
        while True:
            self._is_wanted.clear()  # before the look: a wish that comes meanwhile has another one
            await self._take_turn()
            try:
                async with asyncio.timeout(_EVERY):
                    await self._is_wanted.wait()
            except TimeoutError:
                continue

    def wake(self) -> None:
        """Go round at once: something may be due."""
        self._is_wanted.set()

    async def _take_turn(self) -> None:
        free = _MOST_AT_ONCE - len(self._under_way)
        if free <= 0:
            return
        due = await safely(self._log, self._claim(free), "claim_failed") or []
        has_more = len(due) == free
        for claimed in due:
            task = asyncio.create_task(self._safely_work(claimed))
            self._under_way.add(task)
            task.add_done_callback(self._take_next if has_more else self._under_way.discard)

    async def aclose(self) -> None:
        """Stop what is under way; what was claimed is free again when its lease ends."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _take_next(self, done: asyncio.Task[None]) -> None:
        """Make room for another piece, where all of it was taken up."""
        self._under_way.discard(done)
        self.wake()

    async def _safely_work(self, claimed: C) -> None:
        begin_errand(random_bytes(12).hex())
        await safely(self._log, self._work(claimed), "work_failed")


async def safely(log: BoundLogger, work: Awaitable[T], failure: str) -> T | None:
    """Return what the work gives, none where it fails; a loop that serves everybody has to go on."""
    try:
        return await work
    except TemporarilyUnavailable:
        log.warning(failure, reason="the database is away")
    except Exception:  # one of the places that may
        log.exception(failure)
    measures.background_work_failed(failure)
    return None
