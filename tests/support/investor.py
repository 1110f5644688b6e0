"""A browser in an investor's hands: cookies kept, redirects followed by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


class Browser(httpx.AsyncClient):
    """One browser with one cookie jar."""

    def __init__(self, service: Service) -> None:
        super().__init__(base_url=service.url, timeout=20, headers={"Origin": service.url})

    async def begin_login(self, return_to: str | None = None) -> httpx.Response:
        return await self.get("/sso/login", params={"return_to": return_to} if return_to else {})

    async def come_back(self, parameters: dict[str, str], **headers: str) -> httpx.Response:
        return await self.get("/sso/callback", params=parameters, headers=headers)

    async def sign_in(self, broker: SimulatedBroker, user: str = "AB1234") -> httpx.Response:
        await self.begin_login()
        return await self.come_back(broker.code_for(user))


@asynccontextmanager
async def signed_in(service: Service, broker: SimulatedBroker, user: str = "AB1234") -> AsyncIterator[Browser]:
    """Give a browser in which an investor has signed in."""
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker, user)).status_code == 303
        yield browser


def slug(answer: httpx.Response) -> str:
    """Return the kind of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    content: dict[str, Any] = answer.json()
    assert content["status"] == answer.status_code
    return urlsplit(str(content["type"])).path.removeprefix("/problems/")
