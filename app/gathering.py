"""Questions of many put together: one statement for all who ask while the one before it is under way.

Whoever comes while nothing is under way is asked for at once. The more there are, the less each of them costs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from app.problems import TemporarilyUnavailable

Q = TypeVar("Q")
A = TypeVar("A")

Ask = Callable[[list[Q]], Coroutine[Any, Any, Sequence[A]]]
"""Returns an answer for each question, in their order."""

_Waiting = tuple[Q, "asyncio.Future[A]"]


class Gathering(Generic[Q, A]):
    """One round at a time; nobody is answered by a round that began before he asked."""

    def __init__(self, ask: Ask[Q, A], *, most: int) -> None:
        """Take what puts at most so many questions at once."""
        self._ask = ask
        self._most = most
        self._is_asking = False
        self._waiting: list[_Waiting[Q, A]] = []
        self._round: asyncio.Task[Sequence[A]] | None = None

    async def put(self, question: Q) -> A:
        """Return the answer; raises what asking does, as for all of the round.

        Where asking can't be done at present, those who wait for their turn are told so too: they have waited as long.
        """
        if self._is_asking:
            answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
            self._waiting.append((question, answer))
            return await answer
        self._is_asking = True
        try:
            [found] = await self._ask([question])  # no task for it: most of the time nobody else asks
        except TemporarilyUnavailable as problem:
            self._give_up(problem)
            raise
        finally:
            self._go_on()
        return found

    def _go_on(self) -> None:
        """Ask for those who have come meanwhile, in a task of its own: whoever leaves must not end it for others."""
        waiting = [each for each in self._waiting if not each[1].done()]  # who has left is not asked for
        now, self._waiting = waiting[: self._most], waiting[self._most :]
        self._is_asking = bool(now)
        if now:
            task = asyncio.create_task(self._ask([question for question, _ in now]))  # noqa: RUF006  # kept below
            task.add_done_callback(partial(self._tell, [answer for _, answer in now]))
            self._round = task  # or the loop alone would hold it, and only weakly

    def _tell(self, waiting: "list[asyncio.Future[A]]", done: "asyncio.Task[Sequence[A]]") -> None:
        problem = None if done.cancelled() else done.exception()
        for place, each in enumerate(waiting):
            if each.done():
                continue
            if done.cancelled():
                each.cancel()
            elif problem is not None:
                each.set_exception(problem)
            else:
                each.set_result(done.result()[place])
        if isinstance(problem, TemporarilyUnavailable):
            self._give_up(problem)
        self._go_on()

    def _give_up(self, problem: TemporarilyUnavailable) -> None:
        for _, each in self._waiting:
            if not each.done():
                each.set_exception(problem)
        self._waiting.clear()
