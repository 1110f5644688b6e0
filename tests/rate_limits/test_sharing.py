"""Reads that overlap or come again at once cost one call; what may have changed, or is another's, is never shown."""

import asyncio
from typing import Any

import pytest

from tests.rate_limits.conftest import Limited
from tests.support.investor import slug
from tests.support.replicas import Replicas, Trader, trading, until
from tests.support.simulated import SimulatedBroker

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)  # what is shared never gets to a store

READS = ["funds", "holdings", "positions", "orders", "trades", "profile"]
CALLS = dict(zip(READS, ["funds", "holdings", "positions", "orderBook", "tradeBook", "profile"], strict=True))
REUSED = {"read_reuse_seconds": "20"}


def asked(broker: SimulatedBroker, read: str, user: str = "AB1234") -> int:
    return sum(1 for each in broker.received(CALLS[read]) if each["userId"] == user)


async def pay_for_one(broker: SimulatedBroker, read: str, trader: Trader, **headers: str) -> int:
    """Ask once and return how many calls that cost."""
    before = asked(broker, read, trader.user)
    answer = await trader.get(f"/v1/{read}", headers=headers)
    assert answer.status_code == 200, answer.text
    return asked(broker, read, trader.user) - before


@pytest.mark.parametrize("read", READS)
async def test_reads_that_overlap_share_one_call(limited: Limited, broker: SimulatedBroker, read: str) -> None:
    async with limited() as replicas, trading(replicas.first, broker) as asha:
        broker.break_call(CALLS[read], "slow", seconds=0.4)
        before = asked(broker, read)
        answers = await asyncio.gather(*(asha.get(f"/v1/{read}") for _ in range(5)))
        assert asked(broker, read) - before == 1
        assert {each.status_code for each in answers} == {200}
        assert len({each.text for each in answers}) == 1
        broker.mend()
        assert await pay_for_one(broker, read, asha) == 1, "with READ_REUSE_SECONDS=0 nothing is kept"


async def test_a_caller_who_leaves_takes_nothing_from_those_who_joined_him(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with limited() as replicas, trading(replicas.first, broker) as asha:
        broker.break_call("funds", "slow", seconds=0.5)
        leaving = asyncio.create_task(asha.get("/v1/funds"))

        async def is_asked() -> bool:
            return asked(broker, "funds") == 1

        await until(is_asked)
        joining = asyncio.create_task(asha.get("/v1/funds"))
        await asyncio.sleep(0.1)  # so that it has joined; later would be as good
        leaving.cancel()
        assert (await joining).status_code == 200
        assert asked(broker, "funds") == 1


async def test_a_young_answer_is_shown_again_and_says_its_age(limited: Limited, broker: SimulatedBroker) -> None:
    async with limited(**REUSED) as replicas, trading(replicas.first, broker) as asha:
        first = await asha.get("/v1/holdings")
        await asyncio.sleep(1.1)
        again = await asha.get("/v1/holdings")
        assert asked(broker, "holdings") == 1
        assert (first.headers["age"], again.headers["age"]) == ("0", "1")
        assert again.json() == first.json(), "asOf included"
        assert await pay_for_one(broker, "holdings", asha, **{"Cache-Control": "max-age=0, no-cache"}) == 1
        assert await pay_for_one(broker, "holdings", asha) == 0
        added_by_browsers = {"Cache-Control": "no-cache", "Pragma": "no-cache"}
        assert await pay_for_one(broker, "holdings", asha, **added_by_browsers) == 0
        assert (await asha.get("/v1/holdings")).json()["asOf"] > first.json()["asOf"]


async def test_reuse_is_a_matter_of_the_single_read(limited: Limited, broker: SimulatedBroker) -> None:
    async with limited(read_reuse_seconds="20,holdings=0") as replicas, trading(replicas.first, broker) as asha:
        for read, cost in (("holdings", 1), ("funds", 0)):
            await asha.get(f"/v1/{read}")
            assert await pay_for_one(broker, read, asha) == cost


async def test_nothing_is_shared_between_users_nor_across_a_new_sign_in(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with (
        limited(**REUSED) as replicas,
        trading(replicas.first, broker) as asha,
        trading(replicas.first, broker, "FO5678") as farhan,
        trading(replicas.first, broker) as tablet,
    ):
        mine = (await asha.get("/v1/positions")).json()
        his = (await farhan.get("/v1/positions")).json()
        assert mine["positions"] != his["positions"]
        assert await pay_for_one(broker, "positions", tablet) == 0, "another device of the same user"
        await asha.sign_in(broker)
        assert await pay_for_one(broker, "positions", asha) == 1


async def test_a_session_that_has_died_at_the_broker_is_not_hidden_by_kept_answers(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with limited(**REUSED) as replicas, trading(replicas.first, broker) as asha:
        await asha.get("/v1/funds")
        broker.expire()
        for read in ("holdings", "funds"):
            answer = await asha.get(f"/v1/{read}")
            assert (answer.status_code, slug(answer)) == (401, "broker-session-expired"), read


async def an_act(asha: Trader, kind: str, replicas: Replicas) -> Any:
    """Do something at the second replica."""
    number = (await asha.get("/v1/orders")).json()["orders"][0]["orderNo"]
    there = replicas.second
    match kind:
        case "place":
            return await asha.place(at=there)
        case "modify":
            return await asha.modify(number, {"quantity": 7}, at=there)
        case "cancel":
            return await asha.delete(f"{there.url}/v1/orders/{number}")
        case _:
            return await asha.convert(at=there)


@pytest.mark.parametrize("kind", ["place", "modify", "cancel", "convert"])
async def test_no_replica_shows_again_what_was_read_before_an_order_call(
    limited: Limited, broker: SimulatedBroker, kind: str
) -> None:
    async with limited(**REUSED) as replicas, trading(replicas.first, broker) as asha:
        for read in READS:
            await asha.get(f"/v1/{read}")
        await an_act(asha, kind, replicas)
        for read in READS:
            assert await pay_for_one(broker, read, asha) == 1, read


async def test_what_was_being_read_while_an_order_went_out_is_not_shown_again(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with limited(**REUSED) as replicas, trading(replicas.first, broker) as asha:
        broker.break_call("orderBook", "slow", seconds=0.8, after=True, times=1)
        early = asyncio.create_task(asha.get("/v1/orders"))

        async def is_asked() -> bool:
            return asked(broker, "orders") == 1

        await until(is_asked)
        number = await asha.placed(at=replicas.second)
        shown = await asha.get("/v1/orders")
        assert number in {each["orderNo"] for each in shown.json()["orders"]}
        assert number not in {each["orderNo"] for each in (await early).json()["orders"]}
        again = await asha.get("/v1/orders")
        assert number in {each["orderNo"] for each in again.json()["orders"]}, "the late one has not taken its place"


async def test_the_book_is_not_shown_again_while_an_order_is_unknown(limited: Limited, broker: SimulatedBroker) -> None:
    async with limited(**REUSED) as replicas, trading(replicas.first, broker) as asha:
        broker.order_switches(remarksIn="nowhere")
        broker.break_call("place", "reset", times=1)
        assert (await asha.place()).status_code == 202
        await replicas.store.looked()
        for read, cost in (("orders", 1), ("funds", 0)):
            await asha.get(f"/v1/{read}")
            assert await pay_for_one(broker, read, asha) == cost


async def test_when_an_hour_runs_out_a_poll_gets_older_answers_instead_of_none(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with (
        limited(
            rate_limits_user="non-trading=-/-/20/-,order=-/-/-/1000", cancel_reserve="0", read_reuse_seconds="0.01"
        ) as replicas,
        trading(replicas.first, broker) as asha,
    ):
        polls = []
        for _ in range(40):
            polls.append(await asha.get("/v1/funds"))
            await asyncio.sleep(0.02)
        fresh = await asha.get("/v1/funds", headers={"Cache-Control": "no-cache"})
        placed = await asha.place()
        books = []
        for _ in range(3):
            books.append(await asha.get("/v1/orders"))
            await asyncio.sleep(0.02)  # longer than an answer is shown again
    assert {each.status_code for each in polls} == {200}
    assert 5 <= asked(broker, "funds") <= 16, "half of them at once, then one in very many seconds"
    assert fresh.status_code == 200
    assert placed.status_code == 201
    assert asked(broker, "orders") == 3, "never for the book within thirty seconds of an order"
    assert [each.status_code for each in books] == [200] * 3


async def test_an_older_answer_is_better_than_a_refusal_and_says_so(limited: Limited, broker: SimulatedBroker) -> None:
    limits = {"rate_limits_user": "non-trading=2/-/-/-,order=-/-/-/1000", "rate_limit_guard": "2"}
    async with (
        limited(**limits, cancel_reserve="0", read_reuse_seconds="0.01") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        await asyncio.sleep(3.1)  # until the sign-in's own call has left the window
        answers = []
        for _ in range(6):
            answers.append(await asha.get("/v1/funds"))
            await asyncio.sleep(0.02)
        fresh = await asha.get("/v1/funds", headers={"Cache-Control": "no-cache"})
        other = await asha.get("/v1/holdings")
    assert {each.status_code for each in answers} == {200}
    assert asked(broker, "funds") == 2
    assert {fresh.status_code, other.status_code} == {429}
