"""Somebody who listens to order updates, as a browser's `EventSource` would: by the bytes that come."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.replicas import Store, Trader, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

PATH = "/v1/order-updates"


@dataclass(frozen=True)
class Told:
    """One event of a stream; `id` is none where it had none."""

    event: str
    id: str | None
    data: Any


@dataclass
class Stream:
    """What one stream has told so far."""

    answer: httpx.Response
    told: list[Told] = field(default_factory=list)
    comments: int = 0
    is_over: bool = False
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def updates(self) -> list[dict[str, Any]]:
        """What was told of orders, in the order in which it came."""
        return [each.data for each in self.told if each.event == "order-update"]

    @property
    def last_id(self) -> str | None:
        """What a browser would send as `Last-Event-ID`."""
        return next((each.id for each in reversed(self.told) if each.id is not None), None)

    @property
    def reason(self) -> str | None:
        """Why it ended."""
        return next((each.data["reason"] for each in self.told if each.event == "end"), None)

    async def until(self, count: int, event: str = "order-update", within: float = 10) -> list[Told]:
        """Return the events of a kind as soon as there are so many."""
        await self._wait(lambda: len(self._of(event)) >= count, within, f"{count} of {event}")
        return self._of(event)

    async def ended(self, within: float = 10) -> str | None:
        """Return why it ended, as soon as it has."""
        await self._wait(lambda: self.is_over, within, "its end")
        return self.reason

    async def beaten(self, count: int, within: float = 10) -> None:
        """Return when so many heartbeats have come."""
        await self._wait(lambda: self.comments >= count, within, f"{count} heartbeats")

    def _of(self, event: str) -> list[Told]:
        return [each for each in self.told if each.event == event]

    async def _wait(self, is_so: Any, within: float, what: str) -> None:
        async with self._news:
            try:
                async with asyncio.timeout(within):
                    await self._news.wait_for(is_so)
            except TimeoutError:
                raise AssertionError(f"no {what} within {within} seconds, but {self.told}") from None

    async def read(self) -> None:
        """Take in what comes, to the end."""
        lines: list[str] = []
        try:
            async for line in self.answer.aiter_lines():
                if line:
                    lines.append(line)
                    continue
                async with self._news:
                    self._take(lines)
                    self._news.notify_all()
                lines = []
        finally:
            async with self._news:
                self.is_over = True
                self._news.notify_all()

    def _take(self, lines: list[str]) -> None:
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        self.comments += sum(line.startswith(":") for line in lines)
        if "data" in fields:
            self.told.append(Told(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"])))


@asynccontextmanager
async def listening(
    trader: Trader, at: Service | None = None, *, last_id: str | None = None, since: int | None = None
) -> AsyncIterator[Stream]:
    """Listen at a replica, and go on behind an id where one is named; the greeting has come."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id is not None else {})
    params = {} if since is None else {"since": since}
    url = f"{(at or trader.home).url}{PATH}"
    async with trader.stream("GET", url, headers=headers, params=params, timeout=None) as answer:  # streams last
        if answer.status_code != 200:
            raise AssertionError(f"{answer.status_code}: {(await answer.aread()).decode()}")
        stream = Stream(answer)
        reading = asyncio.create_task(stream.read())
        try:
            await stream.until(1, "connected")
            yield stream
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def first_look_is_over(store: Store, *users: str) -> None:
    """Return when the look that a new listener brings about is over, by default that of AB1234."""
    wanted = list(users) or ["AB1234"]

    async def is_over() -> bool:
        return bool(await store.rows.fetchval(
            "SELECT count(*) = $2 FROM book_looks WHERE user_id = ANY ($1) AND listened_until > now()"
            " AND looked_at IS NOT NULL AND lease_until IS NULL", wanted, len(wanted)
        ))  # fmt: skip

    await until(is_over)


def book_reads(broker: SimulatedBroker, user: str = "AB1234") -> int:
    """Return how often a user's book was read."""
    return sum(each["userId"] == user for each in broker.received("orderBook"))


async def webhook_token(broker: SimulatedBroker, user: str = "AB1234") -> str:
    """Return what stands at the end of a user's only address, as soon as the broker posts there."""

    async def is_subscribed() -> list[dict[str, str]]:
        return broker.subscriptions(user)

    [subscription] = await until(is_subscribed)
    return subscription["callbackUrl"].rsplit("/", 1)[1]
