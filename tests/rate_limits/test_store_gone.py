"""The store of permits is away: orders fail closed, cancels pass once a second, and nothing has to be started again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import empty
from tests.support.configured import configured
from tests.support.investor import slug
from tests.support.processes import process
from tests.support.replicas import Replicas, Trader, replicated, trading, until
from tests.support.simulated import SimulatedBroker
from workbench.valkey import Valkey

PATIENT = "10"  # seconds of guard: on a busy machine no permit grows old, which would be counted twice


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey", is_kept=True) as server:
        yield server


@pytest.fixture(params=["reads-fail", "reads-pass"])
async def replicas(
    request: pytest.FixtureRequest, limits_database: str, broker: SimulatedBroker, valkey: Valkey
) -> AsyncIterator[Replicas]:
    given: dict[str, Any] = {
        "rate_limit_url": valkey.url,
        "rate_limit_store_down": request.param,
        "rate_limit_guard": PATIENT,
    }
    async with replicated(limits_database, broker.url, bystanders=0, **given) as running:
        yield running
    await empty(limits_database)


async def test_without_the_store_nothing_is_placed_and_cancels_pass_one_a_second(
    replicas: Replicas, broker: SimulatedBroker, valkey: Valkey
) -> None:
    async with trading(replicas.first, broker) as asha:
        numbers = [await asha.placed(quantity=each) for each in (1, 2)]
        sent = len(broker.received("place"))
        valkey.stop()
        for order in (asha.place(), asha.modify(numbers[0], {"quantity": 5}), asha.convert()):
            answer = await order
            assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        cancels = await asyncio.gather(*(asha.delete(f"/v1/orders/{number}") for number in numbers))
        assert sorted(each.status_code for each in cancels) == [200, 503]
        await reads_go_by_the_setting(asha, replicas)
        assert (await asha.get("/v1/rate-limits")).status_code == 503
        assert (await asha.get("/v1/session")).status_code == 200
        assert len(broker.received("place")) == sent
        valkey.start()
        await places_again(asha)
        assert (await asha.get("/v1/funds")).status_code == 200


async def places_again(asha: Trader) -> None:
    """Return as soon as an order goes through; a store that has failed is left alone for half a second."""

    async def is_placed() -> bool:
        return (await asha.place(quantity=3)).status_code == 201

    await until(is_placed)


async def test_without_the_store_all_orders_are_cancelled_one_a_second(
    replicas: Replicas, broker: SimulatedBroker, valkey: Valkey
) -> None:
    async with trading(replicas.first, broker) as asha:
        numbers = {await asha.placed(quantity=each) for each in (1, 2)}
        valkey.stop()
        told = (await asha.delete("/v1/orders")).json()["cancellations"]
    assert {each["orderNo"] for each in told} > numbers, "and the open one of the seed"
    assert {each["outcome"] for each in told} == {"accepted"}, told


async def reads_go_by_the_setting(asha: Trader, replicas: Replicas) -> None:
    paths = ("funds", "holdings", "trades")
    answers = await asyncio.gather(*(asha.get(f"/v1/{each}") for each in paths))
    does_pass = replicas.first.settings.rate_limit_store_down == "reads-pass"
    assert sum(each.status_code == 200 for each in answers) <= int(does_pass)
    assert {slug(each) for each in answers if each.status_code != 200} == {"temporarily-unavailable"}


async def test_a_store_that_hangs_is_a_store_that_is_gone(
    replicas: Replicas, broker: SimulatedBroker, valkey: Valkey
) -> None:
    async with trading(replicas.first, broker) as asha:
        number = await asha.placed()
        valkey.freeze()
        began_at = asyncio.get_running_loop().time()
        answer = await asha.place()
        assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
        others = await asyncio.gather(*(asha.place(quantity=each, at=replicas.first) for each in range(2, 12)))
        assert {each.status_code for each in others} == {503}
        assert (await asha.get("/v1/session")).status_code == 200
        assert asyncio.get_running_loop().time() - began_at < 6, "one second for each look, not for each caller"
        cancelled = (await asha.delete(f"/v1/orders/{number}")).json()
        assert cancelled.get("outcome") == "accepted", cancelled
        valkey.thaw()
        await places_again(asha)


async def test_what_was_counted_survives_the_store(
    limits_database: str, broker: SimulatedBroker, valkey: Valkey
) -> None:
    given: dict[str, Any] = {
        "rate_limit_url": valkey.url, "rate_limits_user": "order=-/-/3/-,non-trading=-/-/-/1000", "cancel_reserve": "0",
        "rate_limit_guard": PATIENT,
    }  # fmt: skip
    async with (
        replicated(limits_database, broker.url, bystanders=0, **given) as before,
        trading(before.first, broker) as asha,
    ):
        assert [(await asha.place(quantity=each)).status_code for each in (1, 2)] == [201, 201]
        valkey.kill()
        valkey.start()
        await asyncio.sleep(1)  # it may have been found away, and is then left alone for half a second
        assert [(await asha.place(quantity=each)).status_code for each in (3, 4)] == [201, 429]
    async with (
        replicated(limits_database, broker.url, bystanders=0, **given) as after,
        trading(after.first, broker) as asha,
    ):
        assert (await asha.place(quantity=5)).status_code == 429, "another process, the same count"
    await empty(limits_database)


async def test_what_went_out_without_the_store_is_counted_when_it_is_back(
    limits_database: str, broker: SimulatedBroker, valkey: Valkey
) -> None:
    limits = "order=-/-/3/-,non-trading=-/-/-/1000"
    given: dict[str, Any] = {"rate_limit_url": valkey.url, "rate_limits_user": limits, "rate_limit_guard": PATIENT}
    async with (
        replicated(limits_database, broker.url, bystanders=0, **given) as running,
        trading(running.first, broker) as asha,
    ):
        numbers = [await asha.placed(quantity=each) for each in (1, 2)]
        valkey.stop()
        assert (await asha.delete(f"/v1/orders/{numbers[0]}")).json()["outcome"] == "accepted"
        valkey.start()
        await asyncio.sleep(0.6)  # so long a store that has failed is left alone
        assert (await asha.delete(f"/v1/orders/{numbers[1]}")).status_code == 429, "the third was the last"
    await empty(limits_database)


async def test_a_store_that_would_forget_is_told_to_the_operator(
    limits_database: str, broker: SimulatedBroker, tmp_path: Path
) -> None:
    with Valkey(tmp_path / "forgetful", is_kept=False) as forgetful:
        settings = configured(limits_database, broker.url, rate_limit_url=forgetful.url)
        async with process(settings, tmp_path / "replica.log") as replica:
            assert "limit_store_forgets" in replica.written()
