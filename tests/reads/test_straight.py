"""The straight way says what the router says: the same status, fields and bytes, to whoever asks in whatever way."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.types import Receive, Scope, Send

from app.dependencies import State
from app.main import create_app
from app.middleware import Edge
from app.rendering import ProblemRenderer
from app.sessions.current import Shared, SignedIn
from app.straight import Straight
from app.trading import Model
from tests.support.configured import configured
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

HOME = "http://127.0.0.1:2"
MOVING = {"x-request-id", "age", "ratelimit", "ratelimit-policy"}
"""Fields of two requests that may differ, though both have them."""
STRAIGHT = [
    "/healthz", "/v1/funds", "/v1/holdings", "/v1/orders", "/v1/positions", "/v1/profile", "/v1/rate-limits",
    "/v1/session", "/v1/sessions", "/v1/trades",
]  # fmt: skip
READS = {
    "/v1/funds": "funds", "/v1/holdings": "holdings", "/v1/orders": "orderBook", "/v1/positions": "positions",
    "/v1/profile": "profile", "/v1/trades": "tradeBook",
}  # fmt: skip
ASKED: list[dict[str, str]] = [
    {}, {"Origin": HOME}, {"Origin": "https://evil.example"}, {"X-Background": "true"}, {"X-Background": " TRUE "},
    {"X-Background": "nonsense"}, {"Cache-Control": "max-age=0"}, {"Cache-Control": "no-cache", "Pragma": "no-cache"},
    {"X-Request-ID": "mine"}, {"Accept": "text/html"}, {"Sec-Fetch-Site": "cross-site"}, {"If-None-Match": "*"},
]  # fmt: skip


@dataclass
class Ways:
    """Both ways into one service, with the cookies of one browser."""

    straight: httpx.AsyncClient
    router: httpx.AsyncClient

    async def compare(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Ask by both, and return the answer."""
        answers = [await way.get(path, headers=headers) for way in (self.straight, self.router)]
        one, other = answers
        where = f"{path} {headers} {one.status_code}"
        assert one.status_code == other.status_code, where
        assert _still(one) == _still(other), where
        assert _lasting(one) == _lasting(other), where
        assert one.headers["x-request-id"]
        return one


def _still(answer: httpx.Response) -> list[tuple[str, str | None]]:
    fields = answer.headers.multi_items()
    return sorted((name, None if name in MOVING else content) for name, content in fields)


def _lasting(answer: httpx.Response) -> bytes:
    """Return the body without what time alone changes; what was read of the broker is the same to the last byte."""
    if answer.url.path not in {"/v1/session", "/v1/sessions", "/v1/rate-limits"}:
        return answer.content
    return re.sub(rb'"(\w+At|asOf|resetSeconds|remaining)":[^,}]*', b"", answer.content)


@pytest.fixture
async def ways(database_url: str, broker: SimulatedBroker, service: Service) -> AsyncIterator[Ways]:
    """Give both; the shared service's database is emptied afterwards."""
    async with both_ways(database_url, broker.url) as given:
        yield given


@asynccontextmanager
async def both_ways(database_url: str, broker_url: str) -> AsyncIterator[Ways]:
    settings = configured(database_url, broker_url, HOME, read_reuse_seconds="60", rate_limits_user="")
    app = create_app(settings)
    renderer = ProblemRenderer(settings.public_base_url, settings.sign_in_url, settings.sign_in_targets)

    async def past_the_straight_way(scope: Scope, receive: Receive, send: Send) -> None:
        await FastAPI.__call__(app, scope, receive, send)

    async with app.router.lifespan_context(app) as resources:

        def client(way: Any, cookies: Any = None) -> httpx.AsyncClient:
            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await way({**scope, "state": dict(resources or {})}, receive, send)

            given = httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url=HOME)
            if cookies is not None:
                given._cookies = cookies  # noqa: SLF001  # one jar for both
            return given

        router = Edge(past_the_straight_way, settings=settings, renderer=renderer)
        async with client(app) as straight, client(router, straight.cookies) as routed:
            yield Ways(straight, routed)


async def signed_in(ways: Ways, broker: SimulatedBroker, user: str = "AB1234") -> None:
    broker.return_to(f"{HOME}/sso/callback")
    await ways.straight.get("/sso/login")
    answer = await ways.straight.get("/sso/callback", params=broker.code_for(user))
    assert answer.status_code == 303, answer.text
    for _ in range(2):  # the first look at a book writes down what is new in it, after which it is asked for anew
        await ways.straight.get("/v1/orders")


def test_all_that_may_go_straight_does(database_url: str) -> None:
    """A route that should be quick and is not any more would be noticed by nobody."""
    app: Any = create_app(configured(database_url, "http://127.0.0.1:9/", HOME))
    assert sorted(app._edge._app._app._reads) == STRAIGHT  # noqa: SLF001  # to see inside


@pytest.mark.parametrize("user", ["AB1234", "FO5678", "NEG0042"])
async def test_both_ways_say_the_same_to_somebody_signed_in(user: str, ways: Ways, broker: SimulatedBroker) -> None:
    await signed_in(ways, broker, user)
    for path in STRAIGHT:
        for headers in ASKED:
            answer = await ways.compare(path, headers)
            if headers.get("Sec-Fetch-Site") is None or not path.startswith("/v1"):
                assert answer.status_code == 200, f"{path} {headers} {answer.text}"
            assert ("age" in answer.headers) == (path in READS), path
        for more in ("?", "?x=1", "?limit=%00", "/", "%20", "/../funds"):
            await ways.compare(f"{path}{more}")


@pytest.mark.parametrize("cookie", [None, "", "nonsense", "x" * 43])
async def test_both_ways_say_the_same_to_somebody_who_is_not(cookie: str | None, ways: Ways) -> None:
    for path in STRAIGHT:
        for headers in ASKED:
            given = headers if cookie is None else headers | {"Cookie": f"session={cookie}"}
            answer = await ways.compare(path, given)
            if path.startswith("/v1/"):
                assert answer.status_code in {401, 403}, path


@pytest.mark.parametrize("path", READS)
async def test_both_ways_tell_each_failure_of_the_brokers_alike(path: str, ways: Ways, broker: SimulatedBroker) -> None:
    for fault in ("dead401Json", "dead403", "http503", "html200", "notOk", "truncatedJson", "http429"):
        answers: list[httpx.Response] = []
        for way in (ways.straight, ways.router):
            await signed_in(ways, broker)  # the former one may have ended of the fault
            broker.break_call(READS[path], fault)
            answers.append(await way.get(path, headers={"Cache-Control": "no-cache"}))
            broker.mend()
        one, other = answers
        assert one.status_code == other.status_code >= 400, fault
        assert _still(one) == _still(other)
        assert one.json() == other.json()


async def test_what_is_not_a_get_is_the_routers_affair(ways: Ways, broker: SimulatedBroker) -> None:
    await signed_in(ways, broker)
    for path in STRAIGHT:
        for method in ("HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE"):
            one, other = [await way.request(method, path) for way in (ways.straight, ways.router)]
            assert (one.status_code, one.content, _still(one)) == (other.status_code, other.content, _still(other))


async def test_a_shown_answer_is_never_anothers(ways: Ways, broker: SimulatedBroker) -> None:
    """What is written once for many is written for one user's one answer."""
    shown: dict[str, dict[str, bytes]] = {}
    for user in ("AB1234", "FO5678", "AB1234"):
        ways.straight.cookies.clear()
        await signed_in(ways, broker, user)
        for path in READS:
            answer = await ways.compare(path)
            again = await ways.compare(path)
            assert answer.content == again.content
            shown.setdefault(user, {})[path] = answer.content
    assert all(shown["AB1234"][path] != shown["FO5678"][path] for path in READS)


class Said(Model):
    """What the routes below answer."""

    name: str


async def plain(shared: Shared, investor: SignedIn, state: State) -> Said:
    return Said(name="plain")


async def named(name: str, shared: Shared) -> Said:
    return Said(name=name)


async def asking(limit: int = 5) -> Said:
    return Said(name=str(limit))


async def under_another_name(caller: SignedIn) -> Said:
    return Said(name="other")


async def without_a_model() -> dict[str, str]:
    return {}


async def nothing() -> None:
    """Guard a route."""


@pytest.mark.parametrize(("endpoint", "more", "is_straight"), [
    (plain, {}, True), (named, {}, False), (asking, {}, False), (under_another_name, {}, False),
    (without_a_model, {}, False), (plain, {"status_code": 201}, False), (plain, {"methods": ["POST"]}, False),
    (plain, {"methods": ["GET", "HEAD"]}, False), (plain, {"dependencies": [Depends(nothing)]}, False),
])  # fmt: skip
def test_what_asks_for_more_or_says_more_goes_through_the_router(
    endpoint: Any, more: dict[str, Any], is_straight: bool
) -> None:
    router = APIRouter()
    router.add_api_route("/named/{name}" if endpoint is named else "/somewhere", endpoint, **more)

    async def elsewhere(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError

    assert bool(Straight(elsewhere, routes=router.routes)._reads) == is_straight  # noqa: SLF001  # to see inside
