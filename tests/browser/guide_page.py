"""A page that does what docs/order-updates.md says to its readers, word for word."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Request

from tests.browser.watching import FIVE_MINUTES, Far
from tests.support.investor import Browser
from tests.support.replicas import until
from workbench.children import ROOT

GUIDE = ROOT / "docs" / "order-updates.md"
HOST = "https://api.partner.example"
READERS = """
const told = { shown: [], announced: [], stale: [], asked: 0 };
const show = (order) => told.shown.push(order);
const announce = (event) => told.announced.push(event);
const showThatItIsNotLive = (isNotLive) => told.stale.push(isNotLive);
const askToSignIn = () => { told.asked += 1; };
"""
"""What is the reader's own, as what was called and with what."""
A_SECOND = 1000  # milliseconds


def the_client() -> str:
    """Return the one client that the guide has."""
    [block] = re.findall(r"```js\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert block.count(HOST) == 1
    return str(block)


@dataclass
class Guide:
    """A page that does what the guide says, its line to the service, and another device of the same investor."""

    far: Far
    phone: Browser
    begun_at: int
    """The number of the newest event before the page was opened."""
    sent: list[Request] = field(default_factory=list)

    async def told(self, what: str) -> Any:
        return await self.far.watched.page.evaluate(f"told.{what}")

    async def events(self) -> list[dict[str, Any]]:
        """Return what has happened since the page was opened, as the service has it."""
        answer = await self.phone.get("/v1/order-events", params={"since": self.begun_at})
        found: list[dict[str, Any]] = answer.json()["orderEvents"]
        return found

    async def happened(self, number: str, kind: str) -> None:
        """Return as soon as the service knows that this has become of an order."""

        async def is_so() -> bool:
            return any(each["type"] == kind and each["order"]["orderNo"] == number for each in await self.events())

        await until(is_so, within=20)

    async def has_told_each_once(self) -> None:
        """Return when it has announced all that happened, in order and none of it twice."""

        async def is_so() -> bool:
            return bool(await self.events() == await self.told("announced"))

        await until(is_so, within=20)

    async def is_live(self, *, wanted: bool = True) -> None:
        """Return when it says so; its own patience, of some seconds each time, is not waited for."""

        async def is_so() -> bool:
            await self.far.watched.page.clock.run_for(A_SECOND)
            return bool((await self.told("stale"))[-1:] == [not wanted])

        await until(is_so, within=20)

    async def status(self, number: str) -> str | None:
        """Return the last state in which it has shown an order."""
        shown = [each["status"] for each in await self.told("shown") if each["orderNo"] == number]
        return shown[-1] if shown else None

    async def has_asked_to_sign_in(self) -> None:
        """Return when it has, and see to it that it was once, and the last thing that it did."""

        async def is_so() -> bool:
            return bool(await self.told("asked"))

        page, asked = self.far.watched.page, self.far.watched.asked
        await until(is_so, within=20)
        before = asked.copy()
        await page.clock.run_for(FIVE_MINUTES)
        assert await page.evaluate("stream.readyState") == 2  # the browser comes back by itself no more either
        assert (asked, await self.told("asked")) == (before, 1)


@asynccontextmanager
async def answering(listening: socket.socket, answer: str) -> AsyncIterator[list[bytes]]:
    """Give the requests that came there; each gets the same answer."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            came.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.0 {answer}".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # browsers open connections beforehand and need some of them never
        finally:
            writer.close()

    async with await asyncio.start_server(serve, sock=listening):
        yield came
