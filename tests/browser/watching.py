"""A page whose questions are counted, another device that does something meanwhile, and a line that can be cut."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Locator, Page, Request, expect

from tests.browser.steps import settled
from tests.support.investor import Browser
from tests.support.lines import Line
from tests.support.replicas import ORDER, fresh_key

STREAM = "**/v1/order-updates*"
SECTIONS = ("funds", "profile", "holdings", "positions", "orders", "trades")
CHANGING = ("orders", "placements", "positions", "trades", "funds", "holdings")
"""What is read anew when nobody knows what has happened."""
FIVE_MINUTES = 300_000  # milliseconds


@dataclass
class Watched:
    """A page, and what it has asked the service since somebody last looked."""

    page: Page
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.page.on("request", self._note)

    def _note(self, request: Request) -> None:
        path = urlsplit(request.url).path
        if path.startswith("/v1/"):
            self.asked[path] += 1

    async def open(self, url: str) -> None:
        """Open the portal there, and wait until everything of it has been read."""
        await self.page.goto(f"{url}/portal/")
        for section in SECTIONS:
            await settled(self.page, section, "ready")
        await settled(self.page, "placements", "empty")

    async def has_asked(self, path: str, times: int = 1) -> None:
        """Return as soon as it has asked so often."""
        await _until(lambda: self.asked[path] >= times, f"{times} of {path}", self.asked)

    def row(self, section: str, *texts: str) -> Locator:
        found = self.page.get_by_test_id(section).get_by_role("row")
        for text in texts:
            found = found.filter(has_text=text)
        return found

    async def is_live(self, state: str = "live") -> None:
        await expect(self.page.get_by_test_id("live")).to_have_attribute("data-live", state)


async def _until(is_so: Callable[[], bool], what: str, seen: Any) -> None:
    for _ in range(400):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {what}, but {seen}")


async def placed(phone: Browser, **changed: Any) -> list[str]:
    """Place the usual order on the other device, and return the numbers of its orders."""
    answer = await phone.post("/v1/orders", json=ORDER | changed, headers={"Idempotency-Key": fresh_key()})
    assert answer.status_code == 201, answer.text
    return [each["orderNo"] for each in answer.json()["orders"]]


class Far:
    """A page, and the line by which it reaches the service."""

    def __init__(self, watched: Watched, port: int, listening: socket.socket) -> None:
        self.watched = watched
        self._port = port
        self.number = listening.getsockname()[1]
        self.line = self._line(listening)

    async def mend(self) -> None:
        """Have a new line where the one that was cut has been."""
        self.line = self._line(listening_at(self.number))
        await self.line.open()

    def _line(self, listening: socket.socket) -> Line:
        return Line(listening, lambda: asyncio.open_connection("127.0.0.1", self._port))


def listening_at(number: int) -> socket.socket:
    """Take a port of this machine, with 0 a free one."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", number))
    return listening
