"""What has been begun is finished: a caller who hangs up stops nothing, and the process waits for it before it ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.observability import logger

T = TypeVar("T")

_log = logger(__name__)


class Underway:
    """The tasks of one process that no caller may cancel."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if whoever waits for it here is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_failure)  # nobody else will hear of it
            raise

    async def aclose(self) -> None:
        """Wait until everything has ended; each of it has a deadline of its own."""
        while self._tasks:
            await asyncio.wait(self._tasks)


def _tell_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("work_failed", error=type(error).__name__)
