"""Questions of many put together: one statement for all who ask while the one before it is under way.

Whoever comes while nothing is under way is asked for at once. The more there are, the less each of them costs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

Ask = Callable[[list[Q]], Awaitable[Sequence[A]]]
"""Returns an answer for each question, in their order."""


class _Round(Generic[Q, A]):
    """Those whose questions are put together; it has not begun while `task` is none."""

    def __init__(self) -> None:
        self.questions: list[Q] = []
        self.task: asyncio.Task[Sequence[A]] | None = None


class Gathering(Generic[Q, A]):
    """One round at a time; nobody is answered by a round that began before he asked."""

    def __init__(self, ask: Ask[Q, A], *, most: int) -> None:
        """Take what puts at most so many questions at once."""
        self._ask = ask
        self._most = most
        self._turn = asyncio.Lock()
        self._next: _Round[Q, A] = _Round()

    async def put(self, question: Q) -> A:
        """Return the answer; raises what asking does, as for all of the round."""
        mine = self._next
        place = len(mine.questions)
        mine.questions.append(question)
        if mine.task is None:
            mine.task = asyncio.create_task(self._take_turn(mine))
            mine.task.add_done_callback(_heard)
        if len(mine.questions) == self._most:
            self._next = _Round()
        return (await asyncio.shield(mine.task))[place]  # whoever leaves takes nobody else's answer with him

    async def _take_turn(self, mine: _Round[Q, A]) -> Sequence[A]:
        async with self._turn:
            if self._next is mine:
                self._next = _Round()  # whoever comes from now on is in another one
            return await self._ask(mine.questions)


def _heard(task: asyncio.Task[Sequence[A]]) -> None:
    """Take note of a failure: whoever still waits is told of it, and nobody may be left."""
    if not task.cancelled():
        task.exception()
