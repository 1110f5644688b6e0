"""Questions of many put together: one statement for all who ask while the one before it is under way.

Whoever comes while nothing is under way is asked for at once. The more there are, the less each of them costs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from app.db import told_as_unavailable

Q = TypeVar("Q")
A = TypeVar("A")

Ask = Callable[[list[Q]], Coroutine[Any, Any, Sequence[A]]]
"""Returns an answer for each question, in their order, in a time of its own or not at all."""

_Waiting = tuple[Q, "asyncio.Future[A]"]


class Gathering(Generic[Q, A]):
    """One round at a time; nobody is answered by a round that began before he asked."""

    def __init__(self, ask: Ask[Q, A], *, most: int, patience: float) -> None:
        """Take what puts at most so many questions at once, and how many seconds an answer is waited for."""
        self._ask = ask
        self._most = most
        self._patience = patience
        self._is_asking = False
        self._waiting: list[_Waiting[Q, A]] = []
        self._round: asyncio.Task[list[A]] | None = None

    async def put(self, question: Q) -> A:
        """Return the answer; raises what asking does, as for all of the round.

        Raises `TemporarilyUnavailable` where there is none in time, the wait for a turn included; the question may have
        been put then. Whoever leaves while he alone is asked for ends that question, and nobody else's.
        """
        if self._is_asking:
            return await self._next_answer(question)
        self._is_asking = True
        try:
            [found] = await self._ask([question])  # no task for it: most of the time nobody else asks
        finally:
            self._go_on()
        return found

    async def _next_answer(self, question: Q) -> A:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, answer))
        end = loop.call_later(self._patience, _give_up, answer)
        async with told_as_unavailable():
            try:
                return await answer
            finally:
                end.cancel()

    def _go_on(self) -> None:
        """Ask for those who have come meanwhile, in a task of its own: whoever leaves must not end it for others.

        It is nobody's errand, and has a context of its own.
        """
        waiting = [each for each in self._waiting if not each[1].done()]  # who has left is not asked for
        now, self._waiting = waiting[: self._most], waiting[self._most :]
        self._is_asking = bool(now)
        if now:
            asked = self._asked([question for question, _ in now])
            task = asyncio.create_task(asked, context=Context())
            task.add_done_callback(partial(self._tell, [answer for _, answer in now]))
            self._round = task  # or the loop alone would hold it, and only weakly

    async def _asked(self, questions: list[Q]) -> list[A]:
        answers = await self._ask(questions)
        return [answer for _, answer in zip(questions, answers, strict=True)]

    def _tell(self, waiting: "list[asyncio.Future[A]]", done: "asyncio.Task[list[A]]") -> None:
        if done.cancelled() or done.exception():
            pass_on_failure(done, waiting)
        else:
            for each, found in zip(waiting, done.result(), strict=True):
                if not each.done():
                    each.set_result(found)
        self._go_on()


def pass_on_failure(done: "asyncio.Task[Any]", waiting: "Iterable[asyncio.Future[Any]]") -> None:
    """Tell those who have no answer why a task that was to find it ended without one."""
    problem = None if done.cancelled() else done.exception()
    for each in waiting:
        if each.done():
            continue
        if problem is None:
            each.cancel()
        else:
            each.set_exception(problem)


def _give_up(answer: "asyncio.Future[A]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
