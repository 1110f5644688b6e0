"""What is dead at the broker slows nothing else, is told at once, and is asked again as soon as it lives."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest

from app.clock import monotonic
from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import Trader, received, until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

INVESTORS = ("AB1234", "FO5678", "EMPTY01", "NEG0042")
CALLERS = 200
ROOM = 40
AT_ONCE = 10  # callers who come together, until there is no more room
FAST = 2.0  # seconds; a busy machine's worst is a tenth of a dead service's eight
AFRESH = {"Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
async def sheltered_database(worker: str) -> str:
    return await create_clone(f"sheltered_{worker}")


@pytest.fixture
async def sheltered(sheltered_database: str, broker: SimulatedBroker) -> AsyncIterator[Service]:
    """Give a service with breakers, as it is shipped, and with its deadline for reads."""
    settings = configured(
        sheltered_database, broker.url, broker_breaker_failures=5, broker_calls_in_flight=ROOM, broker_read_deadline="8"
    )
    async with serving(settings) as service:
        broker.return_to(f"{service.url}/sso/callback")
        yield service
    await empty(sheltered_database)


async def test_a_portfolio_that_hangs_for_two_hundred_callers_slows_nobody_else(
    sheltered: Service, broker: SimulatedBroker
) -> None:
    async with AsyncExitStack() as stack:
        browsers = [await stack.enter_async_context(signed_in(sheltered, broker, user)) for user in INVESTORS]
        trader = await stack.enter_async_context(Trader(sheltered))
        trader.headers["Origin"] = sheltered.url
        assert (await trader.sign_in(broker)).status_code == 303
        broker.break_call("holdings", "hanging", user="*", seconds=60)
        holdings: list[asyncio.Task[httpx.Response]] = []
        for first in range(0, CALLERS, AT_ONCE):
            for number in range(first, first + AT_ONCE):
                browser = browsers[number % len(browsers)]
                holdings.append(asyncio.create_task(browser.get("/v1/holdings", headers=AFRESH)))
            await received(broker, "holdings", min(len(holdings), ROOM))
        await until(lambda: are_refused(holdings, CALLERS - ROOM), within=5)
        slowest = await slowest_of_the_others(trader, sheltered, broker)
        assert sum(not each.done() for each in holdings) == ROOM, "they still hang"
        answers = await asyncio.gather(*holdings)
        told = Counter(slug(each) for each in answers)
        assert slowest < FAST
        assert told == {"broker-timeout": ROOM, "temporarily-unavailable": CALLERS - ROOM}
        assert {each.headers["Retry-After"] for each in answers if each.status_code == 503} == {"1"}
        assert len(broker.received("holdings")) == ROOM


async def are_refused(holdings: list[asyncio.Task[httpx.Response]], count: int) -> bool:
    return sum(each.done() and each.result().status_code == 503 for each in holdings) == count


async def slowest_of_the_others(trader: Trader, service: Service, broker: SimulatedBroker) -> float:
    """Return how long the slowest took of reads, orders and a sign-in that must not notice anything."""
    took: list[float] = []

    async def take(asking: asyncio.Task[httpx.Response], status: int) -> None:
        began_at = monotonic()
        answer = await asking
        took.append(monotonic() - began_at)
        assert answer.status_code == status, answer.text

    for _ in range(3):
        for path in ("/v1/orders", "/v1/trades", "/v1/funds", "/v1/profile"):
            await take(asyncio.create_task(trader.get(path, headers=AFRESH)), 200)
        await take(asyncio.create_task(trader.place()), 201)
    async with Browser(service) as newcomer:
        await take(asyncio.create_task(newcomer.sign_in(broker, "MIXED77")), 303)
    return max(took)


async def test_a_dead_service_is_told_at_once_and_costs_no_call_until_it_lives(
    sheltered: Service, broker: SimulatedBroker
) -> None:
    async with signed_in(sheltered, broker) as asha, signed_in(sheltered, broker, "FO5678") as farhan:
        broker.break_call("positions", "http500", user="*")
        for browser in (asha, farhan) * 3:
            await browser.get("/v1/positions", headers=AFRESH)
        asked = len(broker.received("positions"))
        answers = [await browser.get("/v1/holdings", headers=AFRESH) for browser in (asha, farhan)]
        assert {slug(each) for each in answers} == {"broker-unavailable"}
        assert {each.headers["Retry-After"] for each in answers} <= {"1", "2"}
        assert (len(broker.received("positions")), broker.received("holdings")) == (asked, [])
        assert (await asha.get("/v1/funds")).status_code == 200

        async def is_read() -> bool:
            return (await asha.get("/v1/holdings", headers=AFRESH)).status_code == 200

        broker.mend("*")
        await until(is_read, within=5)


async def test_an_unknown_order_is_found_out_though_the_books_fail_for_everybody(
    sheltered: Service, broker: SimulatedBroker, sheltered_database: str
) -> None:
    """Neither the order nor the reconciler's look, which is urgent, is kept back by the breaker that callers opened."""
    rows = await asyncpg.connect(sheltered_database)
    async with Trader(sheltered) as asha, signed_in(sheltered, broker, "FO5678") as farhan:
        asha.headers["Origin"] = sheltered.url
        assert (await asha.sign_in(broker)).status_code == 303
        broker.order_switches(remarksIn="book")
        broker.break_call("tradeBook", "http500", user="*")
        for browser in (asha, farhan) * 4:
            await browser.get("/v1/trades", headers=AFRESH)
        assert slug(await farhan.get("/v1/orders", headers=AFRESH)) == "broker-unavailable"
        broker.break_call("place", "reset", times=1, after=True)
        answer = await asha.place()
        assert answer.status_code == 202, "no breaker stands before an order"
        await asha.becomes(answer.json()["placementId"], "accepted")
    await rows.close()
