"""Reads that are asked again and again cost the limits once: overlapping ones share a call, a young answer is reused.

Nothing is shared between users, nor across a new sign-in, nor across an order or a change of one: every order call
raises its user's epoch and every order event his number, which the session look-up of each request reads, so that no
replica shows again what was read before it (docs/decisions/0012).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Never, TypeVar
from uuid import UUID

from app.clock import monotonic
from app.gathering import pass_on_failure
from app.limits import Category
from app.problems import RateLimited
from app.safeguards.quotas import Quota, note
from app.safeguards.ratelimit import RateLimiter
from app.sessions.asking import Caller, Reading

T = TypeVar("T")
Ask = Callable[[], Awaitable[Reading[T]]]

BOOK = "orders"
_BOOKS = frozenset({BOOK, "trades", "history"})
"""What an order call changes at once, and what whoever has just made one looks at."""
_LONGEST_REUSE = 60.0  # seconds; older than this nothing is shown, however little is left
_LONG_WINDOW = 3600  # seconds; only the windows of an hour and a day are worth saving for
_SCARCE = 0.6  # of a window: with less left, four reads of two replicas can no longer be spread over a whole hour
_CARE = 2.0  # other replicas spend from the same windows
_AFTER_ORDER = timedelta(seconds=30)
_MOST_KEPT = 5_000  # answers in one process
_FORGET_EVERY = 15.0  # seconds


@dataclass(frozen=True)
class _Question:
    user_id: str
    broker_session: UUID | None
    read: str
    about: str | None


@dataclass(frozen=True)
class _Kept:
    reading: Reading[Any]
    begun_at: float
    version: tuple[int, int]


@dataclass(eq=False)
class _UnderWay:
    """A question that is being asked, and those who wait for its answer."""

    version: tuple[int, int]
    waiting: list[asyncio.Future[Reading[Any]]] = field(default_factory=list)

    def join(self) -> asyncio.Future[Reading[Any]]:
        """Return what will hold the answer; whoever leaves takes it from nobody else."""
        mine: asyncio.Future[Reading[Any]] = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        return mine

    def answer(self, reading: Reading[Any]) -> None:
        for each in self.waiting:
            if not each.done():
                each.set_result(reading)


class SharedReads:
    """The answers of one process that may be shown again, and the questions that are being asked."""

    def __init__(
        self, limiter: RateLimiter, reuse_seconds: Mapping[str, float], now: Callable[[], float] = monotonic
    ) -> None:
        """Take the seconds for which each read may be shown again, under "" those of all others."""
        self._limiter = limiter
        self._now = now
        self._reuse_seconds = reuse_seconds
        self._kept: dict[_Question, _Kept] = {}
        self._kept_of: Counter[str] = Counter()
        self._under_way: dict[_Question, _UnderWay] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def keep_forgetting(self) -> Never:
        """Drop, for ever and now and then, what is too old to be shown: it is somebody's portfolio."""
        while True:
            await asyncio.sleep(_FORGET_EVERY)
            self._drop_old()

    async def read(
        self, caller: Caller, read: str, ask: Ask[T], *, about: str | None = None, is_fresh_wanted: bool = False
    ) -> Reading[T]:
        """Return an answer that is young enough, or that somebody is just asking for, or ask; raises what `ask` does.

        With `is_fresh_wanted` it is asked in any case. Where the limits refuse, an older answer that says its age is
        better than none.
        """
        question = _Question(caller.user_id, caller.broker.id if caller.broker else None, read, about)
        if is_fresh_wanted or not caller.has_live_session:
            return await self._ask(question, caller, ask)
        if kept := self._young(question, caller, self._reuse_time(question, caller)):
            return kept
        try:
            return await self._ask_or_join(question, caller, ask)
        except RateLimited as problem:
            if kept := self._young(question, caller, self._bound(question, caller)):
                return kept
            if not problem.is_own:
                note(Category.NON_TRADING, None)  # whoever joined another's question has not heard of it yet
            raise

    def _young(self, question: _Question, caller: Caller, within: float) -> Reading[Any] | None:
        kept = self._kept.get(question)
        freshness = caller.freshness
        if kept is None or kept.version != freshness.version or (question.read in _BOOKS and freshness.has_unknown):
            return None
        return kept.reading if self._now() - kept.begun_at < within else None

    async def _ask_or_join(self, question: _Question, caller: Caller, ask: Ask[T]) -> Reading[T]:
        under_way = self._under_way.get(question)
        if under_way is None or under_way.version != caller.freshness.version:
            return await self._ask(question, caller, ask)
        return await under_way.join()

    async def _ask(self, question: _Question, caller: Caller, ask: Ask[T]) -> Reading[T]:
        """Ask, to the end even if this caller leaves: others may have joined him."""
        under_way = self._under_way[question] = _UnderWay(caller.freshness.version)
        task = asyncio.create_task(self._asked(question, under_way, ask))
        self._tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._leave(question, under_way)
            pass_on_failure(done, under_way.waiting)

        task.add_done_callback(forget)
        return await under_way.join()

    def _leave(self, question: _Question, under_way: _UnderWay) -> None:
        if self._under_way.get(question) is under_way:
            del self._under_way[question]

    async def _asked(self, question: _Question, under_way: _UnderWay, ask: Ask[T]) -> None:
        begun_at, version = self._now(), under_way.version
        reading = await ask()
        former = self._kept.get(question)
        if former is None or former.begun_at <= begun_at:
            self._forget(question)
            self._kept[question] = _Kept(reading, begun_at, version)
            self._kept_of[question.user_id] += 1
        self._drop_old()
        self._leave(question, under_way)
        under_way.answer(reading)  # at once: as the task's own result it would come a turn of the loop later

    def _forget(self, question: _Question) -> None:
        if self._kept.pop(question, None) is not None:
            self._kept_of[question.user_id] -= 1
            if not self._kept_of[question.user_id]:
                del self._kept_of[question.user_id]

    def _drop_old(self) -> None:
        """Forget what nobody will be shown, oldest first; a dictionary keeps the order in which it was filled."""
        too_old = self._now() - _LONGEST_REUSE
        while self._kept:
            question = next(iter(self._kept))
            if self._kept[question].begun_at > too_old and len(self._kept) <= _MOST_KEPT:
                return
            self._forget(question)

    def _reuse_time(self, question: _Question, caller: Caller) -> float:
        """Return for how many seconds an answer may be shown again: longer where an hour's or a day's calls run out."""
        plain = self._reuse_seconds.get(question.read, self._reuse_seconds.get("", 0.0))
        bound = self._bound(question, caller)
        if not plain or bound <= plain:
            return plain
        return min(max(plain, self._pace(caller)), bound)

    def _bound(self, question: _Question, caller: Caller) -> float:
        """Return how old an answer may be at the most; the book is as young as ever shortly after an order."""
        plain = self._reuse_seconds.get(question.read, self._reuse_seconds.get("", 0.0))
        since_order = caller.freshness.since_order
        is_after_order = since_order is not None and since_order < _AFTER_ORDER
        return plain if not plain or (question.read in _BOOKS and is_after_order) else _LONGEST_REUSE

    def _pace(self, caller: Caller) -> float:
        """Return the seconds from one call to the next of the same read at which the scarcest window lasts."""
        standing = self._limiter.last_standing(caller.user_id, Category.NON_TRADING)
        if standing is None:
            return 0.0
        reads = self._kept_of[caller.user_id]
        scarce = [each for each in standing.quotas if each.seconds >= _LONG_WINDOW and _is_scarce(each)]
        # The whole window and not the time until its oldest call leaves: calls made steadily leave it all the time, and
        # whoever spends each of them at once has nothing left for an order's modification.
        return max((_CARE * reads * each.seconds / max(each.remaining, 1) for each in scarce), default=0.0)


def _is_scarce(quota: Quota) -> bool:
    return quota.remaining < quota.limit * _SCARCE
