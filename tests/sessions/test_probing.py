"""A doubtful refusal of a token is believed only after the funds have been asked for once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import fresh_key
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

ORDER = {
    "exchange": "NSE", "tradingSymbol": "YESBANK-EQ", "transactionType": "BUY", "quantity": 10, "product": "CNC",
    "orderType": "LIMIT", "price": "14.00",
}  # fmt: skip


@pytest.fixture
async def asha(service: Service, broker: SimulatedBroker) -> AsyncIterator[Browser]:
    async with signed_in(service, broker) as browser:
        yield browser


async def is_connected(browser: Browser) -> bool:
    return bool((await browser.get("/v1/session")).json()["broker"]["connected"])


async def test_a_call_that_is_forbidden_while_the_funds_answer_ends_no_session(
    asha: Browser, broker: SimulatedBroker
) -> None:
    broker.break_call("holdings", "dead403")
    answer = await asha.get("/v1/holdings")
    assert (answer.status_code, slug(answer)) == (502, "broker-fault")
    assert await is_connected(asha)
    assert len(broker.received("funds")) == 1
    assert slug(await asha.get("/v1/holdings")) == "broker-fault"
    assert len(broker.received("funds")) == 1, "what was found out a moment ago is not asked again"


async def test_a_token_that_is_forbidden_everything_is_dead(asha: Browser, broker: SimulatedBroker) -> None:
    for call in ("holdings", "funds"):
        broker.break_call(call, "dead403")
    answer = await asha.get("/v1/holdings")
    assert (answer.status_code, slug(answer)) == (401, "broker-session-expired")
    assert not await is_connected(asha)
    assert len(broker.received("funds")) == 1


async def test_many_who_doubt_ask_once(asha: Browser, broker: SimulatedBroker) -> None:
    for call in ("holdings", "positions", "tradeBook"):
        broker.break_call(call, "dead403")
    broker.break_call("funds", "slow", seconds=0.5)
    answers = await asyncio.gather(*(asha.get(f"/v1/{each}") for each in ("holdings", "positions", "trades") * 3))
    assert {slug(each) for each in answers} == {"broker-fault"}
    assert len(broker.received("funds")) == 1


async def test_the_funds_are_the_second_opinion_themselves(asha: Browser, broker: SimulatedBroker) -> None:
    broker.break_call("holdings", "dead403")
    assert slug(await asha.get("/v1/holdings")) == "broker-fault"
    broker.break_call("funds", "dead403")
    assert slug(await asha.get("/v1/funds")) == "broker-session-expired", "although they answered a moment ago"
    assert not await is_connected(asha)


async def test_a_probe_that_proves_nothing_ends_nothing(asha: Browser, broker: SimulatedBroker) -> None:
    broker.break_call("holdings", "dead403")
    broker.break_call("funds", "http503")
    answer = await asha.get("/v1/holdings")
    assert (answer.status_code, slug(answer)) == (503, "broker-unavailable")
    assert await is_connected(asha)


async def test_a_plain_refusal_is_believed_at_once(asha: Browser, broker: SimulatedBroker) -> None:
    broker.break_call("holdings", "dead401Text")
    assert slug(await asha.get("/v1/holdings")) == "broker-session-expired"
    assert broker.received("funds") == []
    assert not await is_connected(asha)


async def test_an_order_that_is_forbidden_while_the_funds_answer_is_refused_and_nothing_else(
    asha: Browser, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "dead403", times=1)
    answer = await asha.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": fresh_key()})
    assert (answer.status_code, slug(answer)) == (422, "order-refused")
    assert await is_connected(asha)
    assert len(broker.received("funds")) == 1
    assert len(broker.received("place")) == 1


async def test_an_order_whose_refusal_could_not_be_judged_ends_no_session(
    asha: Browser, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "dead403", times=1)
    broker.break_call("funds", "http503")
    answer = await asha.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": fresh_key()})
    assert (answer.status_code, slug(answer)) == (422, "order-refused")
    assert await is_connected(asha)


async def test_a_new_session_whose_profile_is_forbidden_lives(service: Service, broker: SimulatedBroker) -> None:
    broker.break_call("profile", "dead403")
    async with signed_in(service, broker) as browser:
        assert await is_connected(browser)
