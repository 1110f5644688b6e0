"""Investors with four tabs each and a hand that trades, as careless as frontends are, at all replicas in turn."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from tests.support.replicas import ORDER, fresh_key

READS = ("funds", "holdings", "positions", "orders")
TABS = 4

_READS_AT_ONCE, _ACTS_AT_ONCE = 16, 8  # the others stand in a queue, so that a slow machine gets what it can do
_PATIENCE = 20.0  # seconds for one answer
_EAGER = 8  # of them, those who come first, trade all the time
_COME_WITHIN = 12.0  # seconds; one after the other
_LONGEST_WAIT = 5.0  # seconds; a longer Retry-After is believed by nobody in a hurry
_AT_BSE = {"exchange": "BSE", "tradingSymbol": "IDEA", "price": "13.00"}


@dataclass
class Tally:
    """What was answered."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By what was asked for and status."""
    words: Counter[str] = field(default_factory=Counter)
    """Kinds of problems, and why orders were refused."""
    full: Counter[str] = field(default_factory=Counter)
    """The policies whose windows were full."""
    oldest: int = 0
    """The largest `Age`, in seconds."""
    slowest: float = 0.0
    """Seconds until an answer came."""

    @property
    def by_status(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (_, status), number in self.answers.items():
            found[status] += number
        return found

    def take(self, what: str, status: int, headers: Mapping[str, str], content: Mapping[str, Any]) -> None:
        self.answers[what, status] += 1
        self.oldest = max(self.oldest, int(headers.get("Age", "0")))
        self.full.update(content.get("violatedPolicies", []))
        if status >= 400:
            self.words[urlsplit(str(content["type"])).path.removeprefix("/problems/")] += 1
        if content.get("reason"):
            self.words[str(content["reason"])] += 1


class Crowd:
    """Everybody, by the cookie of his browser."""

    def __init__(self, client: aiohttp.ClientSession, replicas: Sequence[str], cookies: Mapping[str, str]) -> None:
        self.tally = Tally()
        self._client = client
        self._replicas = replicas
        self._cookies = cookies
        self._reading, self._acting = asyncio.Semaphore(_READS_AT_ONCE), asyncio.Semaphore(_ACTS_AT_ONCE)
        self._turns = count()
        self._ends_at = 0.0

    @classmethod
    @asynccontextmanager
    async def of(cls, replicas: Sequence[str], origin: str, cookies: Mapping[str, str]) -> AsyncIterator[Self]:
        """Give a crowd, to be used within a running loop."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_PATIENCE),
            headers={"Origin": origin},
        ) as client:
            yield cls(client, replicas, cookies)

    async def be_busy(self, seconds: float) -> None:
        """Be busy for so long, and return when the last answer has come; who stands in the queue then goes home."""
        self._ends_at = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for user in self._cookies:
                group.create_task(self._trade(user))
                for tab in range(TABS):
                    group.create_task(self._poll(user, tab))

    @property
    def _is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._ends_at

    def _comes_after(self, user: str) -> float:
        return _COME_WITHIN * list(self._cookies).index(user) / len(self._cookies)

    async def _poll(self, user: str, tab: int) -> None:
        """Ask for everything at once and again soon, now and then afresh; wait as told half of the time."""
        habits = random.Random(f"{user} {tab}")  # noqa: S311  # no secret
        await asyncio.sleep(self._comes_after(user) + habits.uniform(0, 1))
        while not self._is_over:
            headers = {"Cache-Control": "no-cache"} if habits.random() < 0.1 else {}
            answers = await asyncio.gather(*(self._ask(user, "GET", f"/v1/{each}", headers) for each in READS))
            pause = habits.uniform(3, 6)
            if habits.random() < 0.5:
                pause = max(pause, *(min(each.get("retryAfter", 0.0), _LONGEST_WAIT) for each in answers))
            await asyncio.sleep(pause)

    async def _trade(self, user: str) -> None:
        """Place some orders at once, change one of them, cancel others, and begin again after a while, or soon."""
        habits = random.Random(user)  # noqa: S311  # no secret
        is_eager = user in list(self._cookies)[:_EAGER]
        await asyncio.sleep(self._comes_after(user))
        while not self._is_over:
            size, is_mixed = 5 if is_eager else habits.choice([1, 2, 3]), habits.random() < 0.5
            placed = await asyncio.gather(
                *(self._place(user, _AT_BSE if is_mixed and each % 2 else {}) for each in range(size))
            )
            numbers = [order["orderNo"] for each in placed for order in each.get("orders", [])]
            for turn, number in enumerate(numbers):
                if turn % 4 == 1:
                    await self._act(user, "PATCH", f"/v1/orders/{number}", {"quantity": 2})
                elif turn % 4 != 2:
                    await self._act(user, "DELETE", f"/v1/orders/{number}")
            await asyncio.sleep(habits.uniform(1, 2) if is_eager else habits.uniform(8, 16))

    async def _place(self, user: str, changed: Mapping[str, str]) -> dict[str, Any]:
        return await self._act(user, "POST", "/v1/orders", {**ORDER, **changed, "quantity": 1, "allowDuplicate": True})

    async def _act(self, user: str, method: str, path: str, content: Any = None) -> dict[str, Any]:
        return await self._ask(user, method, path, {"Idempotency-Key": fresh_key()}, content)

    async def _ask(
        self, user: str, method: str, path: str, headers: Mapping[str, str], content: Any = None
    ) -> dict[str, Any]:
        """Ask the next replica in turn and note what it answers; a problem's content tells `retryAfter` besides."""
        loop = asyncio.get_running_loop()
        url = f"{self._replicas[next(self._turns) % len(self._replicas)]}{path}"
        with_cookie = {**headers, "Cookie": self._cookies[user]}
        async with self._reading if method == "GET" else self._acting:
            if self._is_over:
                return {}
            began_at = loop.time()
            async with self._client.request(method, url, headers=with_cookie, json=content) as answer:
                told: dict[str, Any] = await answer.json(content_type=None)
        self.tally.slowest = max(self.tally.slowest, loop.time() - began_at)
        self.tally.take(method, answer.status, answer.headers, told)
        if wait := answer.headers.get("Retry-After"):
            told["retryAfter"] = float(wait)
        return told
