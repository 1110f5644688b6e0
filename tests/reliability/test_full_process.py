"""A process that has enough to do says so: at once, as a problem, and never to who asks whether it lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.clock import monotonic
from app.pressure import Pressure
from app.rendering import ProblemRenderer
from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import locked, until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

MOST = 10
POOL = 4
AT_ONCE = 0.5  # seconds, on a busy machine
POOL_WAIT = 1.0  # seconds
HELD = "/v1/order-events"
"""What needs a connection of the pool and a table that can be held."""


@pytest.fixture(scope="module")
async def full_database(worker: str) -> str:
    return await create_clone(f"full_{worker}")


@pytest.fixture
async def bounded(full_database: str, broker: SimulatedBroker) -> AsyncIterator[Service]:
    """Give a service that takes ten requests at a time and has connections to the database for all of them."""
    settings = configured(full_database, broker.url, requests_per_process=MOST, database_pool_size=MOST * 2)
    async with serving(settings) as service:
        broker.return_to(f"{service.url}/sso/callback")
        yield service
    await empty(full_database)


@pytest.fixture
async def few_connections(full_database: str, broker: SimulatedBroker) -> AsyncIterator[Service]:
    settings = configured(full_database, broker.url, database_pool_size=POOL, database_pool_wait=str(POOL_WAIT))
    async with serving(settings) as service:
        broker.return_to(f"{service.url}/sso/callback")
        yield service
    await empty(full_database)


async def stuck(holder: asyncpg.Connection, browser: Browser, times: int) -> list[asyncio.Task[httpx.Response]]:
    """Ask so many times for what has to wait for a table that the holder holds, and return when all do."""
    asking = [asyncio.create_task(browser.get(HELD)) for _ in range(times)]

    async def all_wait() -> bool:
        waiting = await holder.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'order_events'::regclass"
        )
        return bool(waiting == times)

    await until(all_wait)
    return asking


async def timed(browser: Browser, path: str) -> tuple[float, httpx.Response]:
    began_at = monotonic()
    answer = await browser.get(path)
    return monotonic() - began_at, answer


async def test_without_a_free_connection_callers_are_told_so_soon_and_it_still_lives(
    few_connections: Service, broker: SimulatedBroker, full_database: str
) -> None:
    async with signed_in(few_connections, broker) as browser:
        async with locked(full_database, "order_events", "ACCESS EXCLUSIVE") as holder:
            asking = await stuck(holder, browser, POOL)
            (took, answer), (took_health, health), (took_ready, ready) = await asyncio.gather(
                *(timed(browser, path) for path in (HELD, "/healthz", "/readyz"))
            )
            assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
            assert "connection" in answer.json()["detail"]
            assert int(answer.headers["Retry-After"]) >= 1
            assert POOL_WAIT * 0.9 < took < POOL_WAIT + AT_ONCE
            assert (health.status_code, took_health < AT_ONCE) == (200, True)
            assert (ready.status_code, took_ready < AT_ONCE) == (200, True), "busy is not away"
            assert not any(each.done() for each in asking)
        assert [(await each).status_code for each in asking] == [200] * POOL
        assert (await browser.get("/v1/session")).status_code == 200


async def test_more_requests_than_a_process_takes_are_refused_at_once_and_cancels_last(
    bounded: Service, broker: SimulatedBroker, full_database: str
) -> None:
    async with signed_in(bounded, broker) as browser:
        async with locked(full_database, "order_events", "ACCESS EXCLUSIVE") as holder:
            asking = await stuck(holder, browser, MOST)
            took, answer = await timed(browser, "/v1/orders")
            assert (answer.status_code, slug(answer), took < AT_ONCE) == (503, "temporarily-unavailable", True)
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["Access-Control-Allow-Origin"] == bounded.url, "or the frontend could not read it"
            for path in ("/healthz", "/readyz"):
                assert (await browser.get(path)).status_code == 200
            cancels = [asyncio.create_task(browser.delete(f"/v1/orders/2311150000384{each}")) for each in range(2)]
            [refused], [let_in] = await asyncio.wait(cancels, return_when=asyncio.FIRST_COMPLETED)
            answer = await refused
            assert (answer.status_code, answer.json()["detail"]) == (503, "Too many requests are under way.")
            assert not any(each.done() for each in asking)
        assert [(await each).status_code for each in (*asking, let_in)] == [200] * MOST + [404]
        assert (await browser.get("/v1/orders")).status_code == 200


async def test_who_sends_slowly_and_who_listens_take_nobodys_place(bounded: Service, broker: SimulatedBroker) -> None:
    address = urlsplit(bounded.url)
    async with AsyncExitStack() as stack:
        for _ in range(MOST):
            _reader, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            writer.write(
                b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Origin: " + bounded.url.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
            )
            await writer.drain()
        browser = await stack.enter_async_context(signed_in(bounded, broker))
        for _ in range(MOST):
            stream = await stack.enter_async_context(browser.stream("GET", "/v1/order-updates"))
            assert stream.status_code == 200
        assert (await browser.get("/v1/session")).status_code == 200


async def test_a_place_is_free_when_an_answer_begins_however_slowly_it_is_read() -> None:
    begun: list[int] = []
    is_read = asyncio.Event()

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"much"})

    async def read_slowly(message: Message) -> None:
        if message["type"] == "http.response.start":
            begun.append(message["status"])
        else:
            await is_read.wait()

    pressure = Pressure(answer, renderer=ProblemRenderer("http://x", "http://x/sso/login", ()), most=MOST)
    scope = {"type": "http", "method": "GET", "path": "/v1/orders", "headers": []}
    async with asyncio.TaskGroup() as readers:
        for _ in range(MOST * 3):
            readers.create_task(pressure(dict(scope), asyncio.Queue[Message]().get, read_slowly))
            await asyncio.sleep(0)  # a turn of the loop: his answer has begun
        is_read.set()
    assert begun == [200] * MOST * 3
