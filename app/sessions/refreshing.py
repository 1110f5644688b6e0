"""One look at the database for all who ask at the same moment whether an earlier answer may still be shown.

Each of them is told what was true after he had asked: whoever comes while a look is under way waits for the next one.
The more there are, the less each of them costs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

Look = Callable[[set[str]], Awaitable[Mapping[str, T]]]


class _Round(Generic[T]):
    """Those who are told the same look's findings; it has not begun while `task` is none."""

    def __init__(self) -> None:
        self.user_ids: set[str] = set()
        self.task: asyncio.Task[Mapping[str, T]] | None = None


class Refreshing(Generic[T]):
    """The looks of one process, one at a time."""

    def __init__(self, look: Look[T]) -> None:
        self._look = look
        self._turn = asyncio.Lock()
        self._next: _Round[T] = _Round()

    async def of(self, user_id: str) -> T:
        """Return what is found of a user by a look that begins from now on; raises what the look does."""
        mine = self._next
        mine.user_ids.add(user_id)
        if mine.task is None:
            mine.task = asyncio.create_task(self._take_turn(mine))
            mine.task.add_done_callback(_heard)
        found = await asyncio.shield(mine.task)  # whoever leaves takes nobody else's answer with him
        return found[user_id]

    async def _take_turn(self, mine: _Round[T]) -> Mapping[str, T]:
        async with self._turn:
            self._next = _Round()  # whoever comes from now on waits for another look
            return await self._look(mine.user_ids)


def _heard(task: asyncio.Task[Mapping[str, T]]) -> None:
    """Take note of a failure: whoever still waits is told of it, and nobody may be left."""
    if not task.cancelled():
        task.exception()
