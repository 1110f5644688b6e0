"""The broker's limits at our gate, as a frontend meets them: two replicas, either store."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.rate_limits.conftest import Limited
from tests.support.investor import Browser, slug
from tests.support.replicas import ORDER, Replicas, Trader, fresh_key, trading, until
from tests.support.simulated import SimulatedBroker

READS = "non-trading=-/-/{}/-"
PLENTY = "non-trading=-/-/-/100000"


def items(field: str) -> dict[str, dict[str, int]]:
    """Return the members of a list of RFC 9651 as we write them, with their parameters."""
    found: dict[str, dict[str, int]] = {}
    for member in field.split(", "):
        name, *parameters = member.split(";")
        found[name.strip('"')] = {key: int(value) for key, _, value in (each.partition("=") for each in parameters)}
    return found


async def ask_by_turns(trader: Trader, replicas: Replicas, path: str, times: int) -> list[httpx.Response]:
    """Ask so many times, each replica in its turn."""
    return [await trader.get(f"{replicas.both[turn % 2].url}{path}") for turn in range(times)]


async def test_two_replicas_let_through_what_one_limit_allows(limited: Limited, broker: SimulatedBroker) -> None:
    async with (
        limited(rate_limits_user=READS.format(7), cancel_reserve="0") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        before = len(broker.received("funds"))
        answers = await ask_by_turns(asha, replicas, "/v1/funds", 8)
    assert [each.status_code for each in answers] == [200] * 6 + [429] * 2, "the sign-in's profile was the first call"
    assert len(broker.received("funds")) - before == 6
    refused = answers[-1].json()
    assert slug(answers[-1]) == "rate-limited"
    assert refused["violatedPolicies"] == ["non-trading-3600"]
    assert 3590 <= int(answers[-1].headers["retry-after"]) <= 3611, "an hour and the guard"


async def test_every_answer_tells_what_is_left_the_tightest_window_first(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with (
        limited(rate_limits_user="non-trading=-/15/20/5000,order=25/250/500/5000") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        first, second = await ask_by_turns(asha, replicas, "/v1/funds", 2)
        asked_for_nothing = await asha.get(f"{replicas.second.url}/v1/session")
        missing = await asha.get("/v1/nothing")
        placed = await asha.place()
        async with httpx.AsyncClient(base_url=replicas.first.url) as stranger:
            anonymous = await stranger.get("/v1/funds")
    policies = items(first.headers["ratelimit-policy"])
    assert list(policies) == ["non-trading-3600", "non-trading-60", "non-trading-86400"], "16 of 20, 12 of 15, …"
    assert policies["non-trading-3600"] == {"q": 20, "w": 3600}
    left = items(first.headers["ratelimit"])
    assert list(left) == list(policies)
    assert left["non-trading-3600"]["r"] == 20 - 2 - 2, "two calls were made, two are kept for cancels"
    assert 3598 <= left["non-trading-3600"]["t"] <= 3611
    assert items(second.headers["ratelimit"])["non-trading-3600"]["r"] == 15
    assert items(asked_for_nothing.headers["ratelimit"])["non-trading-3600"]["r"] == 15
    assert missing.status_code == 404
    assert "ratelimit-policy" in missing.headers
    assert items(placed.headers["ratelimit"])["order-1"]["r"] == 25 - 2 - 1
    assert anonymous.status_code == 401
    assert "ratelimit" not in anonymous.headers
    assert items(anonymous.headers["ratelimit-policy"])["non-trading-3600"] == {"q": 20, "w": 3600}


async def test_whoever_waits_as_long_as_he_is_told_is_let_through(limited: Limited, broker: SimulatedBroker) -> None:
    async with (
        limited(rate_limits_user="non-trading=3/-/-/-", cancel_reserve="0", rate_limit_guard="0.25") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        waited = 0
        for _ in range(3):
            await asyncio.gather(*(asha.get(f"/v1/{each}") for each in ("funds", "holdings", "positions", "trades")))
            refused = await asha.get("/v1/profile")
            if refused.status_code == 429:  # on a machine too busy for four calls in a second it is let through
                await asyncio.sleep(int(refused.headers["retry-after"]))
                assert (await asha.get("/v1/funds")).status_code == 200
                waited += 1
        assert waited


async def test_a_refused_order_uses_nothing_and_is_not_remembered(limited: Limited, broker: SimulatedBroker) -> None:
    key = fresh_key()
    async with (
        limited(rate_limits_user=f"order=2/-/-/-,{PLENTY}", cancel_reserve="0", rate_limit_guard="2") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        assert [(await asha.place(quantity=each)).status_code for each in (1, 2)] == [201, 201]
        refused = await asha.place(key, quantity=3, at=replicas.second)
        assert (refused.status_code, slug(refused)) == (429, "rate-limited")
        assert len(await replicas.store.intents()) == 2
        await asyncio.sleep(int(refused.headers["retry-after"]))
        again = await asha.place(key, quantity=3)
    assert again.status_code == 201
    assert "idempotency-replayed" not in again.headers


async def test_a_replay_costs_no_limit(limited: Limited, broker: SimulatedBroker) -> None:
    key = fresh_key()
    async with (
        limited(rate_limits_user=f"order=-/-/1/-,{PLENTY}", cancel_reserve="0") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        assert (await asha.place(key)).status_code == 201
        assert (await asha.place(key, at=replicas.second)).headers["idempotency-replayed"] == "true"
        assert (await asha.place()).status_code == 429


async def test_a_cancel_goes_through_when_placing_is_exhausted(limited: Limited, broker: SimulatedBroker) -> None:
    async with (
        limited(rate_limits_user=f"order=-/-/10/-,{PLENTY}") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        numbers = [await asha.placed(quantity=each) for each in range(1, 10)]
        assert (await asha.place(quantity=10)).status_code == 429
        cancelled = await asha.delete(f"/v1/orders/{numbers[0]}")
        assert (cancelled.status_code, cancelled.json()["outcome"]) == (200, "accepted")
        assert (await asha.delete(f"/v1/orders/{numbers[1]}")).status_code == 429, "there was one, and it is used"
        final = await asha.delete(f"/v1/orders/{numbers[0]}")
    assert final.status_code in {200, 429}


async def test_what_a_cancel_has_to_read_goes_through_when_reading_is_exhausted(
    limited: Limited, broker: SimulatedBroker
) -> None:
    """An order of the broker's own app has to be found in the book before it is cancelled."""
    async with (
        limited(rate_limits_user="non-trading=-/-/10/-") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        [number, *_] = [
            each["orderNo"] for each in (await asha.get("/v1/orders")).json()["orders"] if each["status"] == "OPEN"
        ]
        await replicas.store.rows.execute("DELETE FROM seen_orders")
        while (await asha.get("/v1/funds")).status_code == 200:
            pass
        assert (await asha.delete(f"/v1/orders/{number}")).json()["outcome"] == "accepted"


async def test_orders_at_one_exchange_have_a_limit_of_their_own(limited: Limited, broker: SimulatedBroker) -> None:
    limits = {"rate_limits_user": f"order=-/-/-/1000,{PLENTY}", "orders_per_second_per_exchange": "3"}
    async with (
        limited(**limits, rate_limit_guard="2") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        answers = await asyncio.gather(*(asha.place(quantity=each, at=replicas.both[each % 2]) for each in range(1, 5)))
        elsewhere = await asha.place(exchange="BSE", tradingSymbol="IDEA", price="13.00")
        [order, *_] = [each for each in answers if each.status_code == 201]
        number = order.json()["orders"][0]["orderNo"]
        cancelled = await asha.delete(f"/v1/orders/{number}")
    refused = [each for each in answers if each.status_code != 201]
    assert len(refused) == 2, "three a second, one of them kept for cancels"
    assert all(each.json()["violatedPolicies"] == ["order-NSE-1"] for each in refused)
    assert elsewhere.status_code in {201, 422}
    assert "violatedPolicies" not in elsewhere.json()
    assert cancelled.json()["outcome"] == "accepted"


async def test_what_the_whole_app_has_used_is_told_to_nobody(limited: Limited, broker: SimulatedBroker) -> None:
    limits = {"rate_limits_user": f"order=-/-/-/1000,{PLENTY}", "rate_limits_app": "order=-/-/3/-"}
    async with (
        limited(**limits, cancel_reserve="0") as replicas,
        trading(replicas.first, broker) as asha,
        trading(replicas.second, broker, "FO5678") as farhan,
    ):
        assert [(await asha.place(quantity=each)).status_code for each in (1, 2, 3)] == [201] * 3
        refused = await farhan.place()
        shown = await farhan.get("/v1/rate-limits")
    assert (refused.status_code, slug(refused)) == (429, "rate-limited")
    assert refused.json()["violatedPolicies"] == ["app-order-3600"]
    assert "ratelimit" not in refused.headers
    assert "retry-after" in refused.headers
    assert "app" not in shown.text


async def test_a_sign_in_that_our_own_limits_stop_can_be_finished_later(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with (
        limited(rate_limits_app="non-trading=2/-/-/-", cancel_reserve="0", rate_limit_guard="2") as replicas,
        Browser(replicas.second) as farhan,
        trading(replicas.first, broker),  # whose exchange and profile are the second's two calls
    ):
        await farhan.begin_login()
        parameters = broker.code_for("FO5678")
        refused = await farhan.come_back(parameters)
        await asyncio.sleep(int(refused.headers["retry-after"]))
        again = await farhan.come_back(parameters)
    assert (refused.status_code, slug(refused)) == (429, "rate-limited")
    assert again.status_code == 303


async def test_a_category_without_limits_pauses_all_the_same(limited: Limited, broker: SimulatedBroker) -> None:
    async with (
        limited(rate_limits_user="non-trading=-/-/-/-,order=-/-/-/1000") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        assert "ratelimit" not in (await asha.get("/v1/funds")).headers
        broker.break_call("funds", "http429", seconds=30, times=1)
        assert [(await asha.get("/v1/funds")).status_code for _ in range(2)] == [503, 503]
    assert len(broker.received("funds")) == 2


async def test_every_window_is_shown(limited: Limited, broker: SimulatedBroker) -> None:
    limits = "order=25/250/500/5000,non-trading=100/500/1000/5000"
    async with (
        limited(rate_limits_user=limits, orders_per_second_per_exchange="10") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        await asha.place()
        shown = (await asha.get(f"{replicas.second.url}/v1/rate-limits")).json()
    windows = {
        each["category"]: [(one["seconds"], one["limit"], one["remaining"]) for one in each["windows"]]
        for each in shown["categories"]
    }
    assert windows["order"] == [(1, 25, 22), (60, 250, 224), (3600, 500, 449), (86_400, 5000, 4499)]
    assert windows["data"] == [(1, 10, 10), (60, 1000, 1000), (3600, 5000, 5000), (86_400, 10_000, 10_000)]
    assert windows["non-trading"][2:] == [(3600, 1000, 899), (86_400, 5000, 4499)]
    assert windows["order-NSE"] == [(1, 10, 8)]
    assert windows["order-MCX"] == [(1, 10, 9)]
    hours = [one for each in shown["categories"] for one in each["windows"] if one["seconds"] == 3600]
    assert all(3598 <= each["resetSeconds"] <= 3611 for each in hours)


async def test_every_request_to_the_broker_is_counted(limited: Limited, broker: SimulatedBroker) -> None:
    """Variants of a path, histories, the reconciler's looks and the profile at a sign-in; the exchange is nobody's.

    With a long guard no permit grows old on a busy machine: the second one would be counted too.
    """
    async with (
        limited(rate_limits_user="non-trading=-/-/-/1000,order=-/-/-/1000", rate_limit_guard="10") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        broker.break_call("holdings", "http404", times=1)
        await asha.get("/v1/holdings")
        number = await asha.placed()
        await asha.get(f"/v1/orders/{number}")
        await replicas.store.looked()
        await asha.delete(f"/v1/orders/{number}")
        await asha.get("/v1/trades")

        async def agree() -> bool:
            received = [each["call"] for each in broker.received() if each["userId"] == asha.user]
            acts = sum(1 for each in received if each in {"place", "modify", "cancel", "convert"})
            used = await used_of_a_day(asha)
            reads = sum(1 for each in received if each not in {"exchange", "place", "modify", "cancel", "convert"})
            return used == {"order": acts, "non-trading": reads}

        await until(agree)


async def used_of_a_day(trader: Trader) -> dict[str, int]:
    """Return how many calls of each category were counted in the window of a day; a tenth is kept back."""
    shown: list[dict[str, Any]] = (await trader.get("/v1/rate-limits")).json()["categories"]
    windows = {each["category"]: each["windows"][-1] for each in shown if each["category"] in {"order", "non-trading"}}
    return {name: window["limit"] * 9 // 10 - window["remaining"] for name, window in windows.items()}


async def test_all_open_orders_are_cancelled_though_the_second_allows_fewer(
    limited: Limited, broker: SimulatedBroker
) -> None:
    async with (
        limited(rate_limits_user=f"order=-/-/-/1000,{PLENTY}", orders_per_second_per_exchange="0") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        for each in range(1, 9):
            await asha.placed(quantity=each)
    async with (
        limited(rate_limits_user=f"order=4/-/-/1000,{PLENTY}", rate_limit_guard="0.25") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        told = (await asha.delete("/v1/orders")).json()["cancellations"]
        book = (await asha.get("/v1/orders")).json()["orders"]
    assert len(told) >= 8
    assert {each["outcome"] for each in told} == {"accepted"}, told
    assert not [each for each in book if each["status"] in {"OPEN", "TRIGGER_PENDING"}]


@pytest.mark.parametrize("changed", [{"quantity": 0}, {"price": "nonsense"}])
async def test_what_is_not_valid_costs_nothing(
    limited: Limited, broker: SimulatedBroker, changed: dict[str, Any]
) -> None:
    async with (
        limited(rate_limits_user=f"order=-/-/2/-,{PLENTY}", cancel_reserve="0") as replicas,
        trading(replicas.first, broker) as asha,
    ):
        for _ in range(3):
            assert (await asha.place(order=ORDER | changed)).status_code == 422
        assert (await asha.place()).status_code == 201


async def test_a_cancel_whose_exchange_nobody_names_counts_at_every_one(
    limited: Limited, broker: SimulatedBroker
) -> None:
    limits = {"rate_limits_user": f"order=-/-/-/1000,{PLENTY}", "orders_per_second_per_exchange": "4"}
    async with limited(**limits, rate_limit_guard="10") as replicas, trading(replicas.first, broker) as asha:
        number = await asha.placed()
        await replicas.store.rows.execute("UPDATE seen_orders SET exchange = NULL")
        assert (await asha.delete(f"/v1/orders/{number}")).json()["outcome"] == "accepted"
        shown = (await asha.get("/v1/rate-limits")).json()["categories"]
    left = {each["category"]: each["windows"][0]["remaining"] for each in shown}
    assert (left["order-NSE"], left["order-BSE"], left["order-MCX"]) == (1, 2, 2), "of four, one kept for cancels"
