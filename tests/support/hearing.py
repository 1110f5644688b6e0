"""An `EventSource`: it comes back by itself behind the last id that it heard, and knows all that it was ever told."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from app.clock import monotonic
from tests.support.honest import Answer, Investor

COMES_BACK_AFTER = 2.0  # seconds, as the stream tells every browser
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=40)  # heartbeats come every fifteen seconds


@dataclass(eq=False)
class Ear:
    """What somebody heard of his orders, over however many streams."""

    investor: Investor
    updates: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    streams: int = 0
    ends: list[str] = field(default_factory=list)
    resets: int = 0
    is_open: bool = False
    last_id: str | None = None
    began_behind: int | None = None
    comes_back_after: float = COMES_BACK_AFTER
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        """Listen for ever."""
        while True:
            await self.listen_once()
            await asyncio.sleep(self.comes_back_after)

    async def listen_once(self) -> None:
        """Open one stream and hear it to its end, whatever ends it."""
        headers = {"Cookie": self.investor.cookie, "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": self.last_id} if self.last_id is not None else {}
        url = f"{self.investor.url}/v1/order-updates"
        try:
            async with self.investor.client.get(url, headers=headers, timeout=_NO_LIMIT) as answer:
                if answer.status != 200:
                    content = await answer.json(content_type=None)
                    self._note(answer.status, str(content["type"]).rpartition("/")[2])
                    return
                self.streams += 1
                await self._hear(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note(0, f"stream: {type(error).__name__}")
        finally:
            self.is_open = False

    def _note(self, status: int, slug: str) -> None:
        found = Answer(monotonic(), self.investor.user, "stream", status, slug, {})
        self.investor.diary.answers.append(found)

    async def _hear(self, answer: aiohttp.ClientResponse) -> None:
        fields: dict[str, str] = {}
        async for line in answer.content:
            told = line.decode().rstrip("\r\n")
            if told:
                name, _, content = told.partition(": ")
                fields[name] = content
                continue
            if "data" in fields:
                await self._take(fields)
            fields = {}

    async def _take(self, fields: dict[str, str]) -> None:
        event, content = fields.get("event", "message"), json.loads(fields["data"])
        self.investor.diary.search(self.investor.user, fields["data"])
        self.last_id = fields.get("id", self.last_id)
        async with self._news:
            match event:
                case "connected":
                    assert content["userId"] == self.investor.user
                    self.is_open = True
                    if self.began_behind is None:
                        self.began_behind = int(fields["id"])
                case "order-update":
                    self.ids.append(int(fields["id"]))
                    self.updates.append(content)
                case "reset":
                    self.resets += 1
                case "end":
                    self.ends.append(content["reason"])
            self._news.notify_all()

    async def hears_of(self, order_no: str, within: float) -> bool:
        """Say whether he hears of an order in so many seconds."""
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(lambda: any(each["order"]["orderNo"] == order_no for each in self.updates))
        except TimeoutError:
            return False
        return True

    async def hears_until(self, number: int, within: float) -> None:
        """Return when he has heard the event of a number."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: (self.ids[-1] if self.ids else self.began_behind or 0) >= number)
