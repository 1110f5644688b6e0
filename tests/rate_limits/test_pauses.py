"""The broker's own word about its limit: that user and category pause, nobody and nothing else does."""

import pytest

from tests.rate_limits.conftest import Limited
from tests.support.investor import slug
from tests.support.replicas import received, trading
from tests.support.simulated import SimulatedBroker


@pytest.mark.parametrize(
    ("fault", "seconds", "wait"), [("http429", 7, 7), ("http429", None, 5), ("limitText", None, 5)]
)
async def test_a_limited_read_pauses_that_user_on_every_replica(
    limited: Limited, broker: SimulatedBroker, fault: str, seconds: float | None, wait: int
) -> None:
    async with (
        limited() as replicas,
        trading(replicas.first, broker) as asha,
        trading(replicas.first, broker, "FO5678") as farhan,
    ):
        broker.break_call("funds", fault, seconds=seconds, times=1)
        first = await asha.get("/v1/funds")
        second = await asha.get(f"{replicas.second.url}/v1/holdings")
        shown = (await asha.get("/v1/rate-limits")).json()["categories"]
        assert (await farhan.get("/v1/funds")).status_code == 200
        assert (await asha.place()).status_code == 201, "order calls are another category"
    assert [(each.status_code, slug(each)) for each in (first, second)] == [(503, "broker-rate-limited")] * 2
    assert int(first.headers["retry-after"]) == wait
    assert wait - 1 <= int(second.headers["retry-after"]) <= wait
    assert len(await received(broker, "funds", 2)) == 2
    assert broker.received("holdings") == []
    [paused] = [each for each in shown if each["category"] == "non-trading"]
    assert {window["remaining"] for window in paused["windows"]} == {0}
    assert all(window["resetSeconds"] >= wait - 1 for window in paused["windows"])


async def test_an_order_that_meets_the_limit_is_refused_and_the_next_is_not_sent(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with limited() as replicas, trading(replicas.first, broker) as asha:
        broker.break_call("place", "http429", seconds=30, times=1)
        refused = await asha.place()
        put_off = await asha.place(quantity=2, at=replicas.second)
        cancelled = await asha.delete("/v1/orders")
        assert (await asha.get("/v1/funds")).status_code == 200
    assert (refused.status_code, slug(refused)) == (422, "order-refused")
    assert refused.json()["reason"] == "broker-rate-limited"
    assert (put_off.status_code, slug(put_off)) == (503, "broker-rate-limited")
    assert 28 <= int(put_off.headers["retry-after"]) <= 30
    assert len(broker.received("place")) == 1
    assert broker.received("cancel") == []
    assert {each["outcome"] for each in cancelled.json()["cancellations"]} == {"refused"}


async def test_calls_under_way_when_the_pause_begins_do_not_lengthen_it(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with limited() as replicas, trading(replicas.first, broker) as asha:
        limiter_pauses = []
        broker.break_call("funds", "http429", times=1)
        broker.break_call("holdings", "slow", seconds=0.2, times=1)
        for path in ("funds", "holdings", "positions"):
            answer = await asha.get(f"/v1/{path}")
            limiter_pauses.append((answer.status_code, int(answer.headers.get("retry-after", 0))))
    assert limiter_pauses[0] == (503, 5)
    assert all(status == 503 and wait <= 5 for status, wait in limiter_pauses)
