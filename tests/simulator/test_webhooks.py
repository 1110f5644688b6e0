"""Which order updates the simulated broker posts, to whom, and that no order ever waits for it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.calls import WEBHOOK_PATHS
from simulator.posting import Line, Post, Postman, Tally
from tests.simulator.receiver import TAKEN, Receiver, arrived, receiving, settled
from tests.simulator.trader import Trader
from tests.support.simulated import SimulatedBroker
from workbench.children import free_port

SAMPLES = Path(__file__).parents[1] / "samples"
MARKET = {"priceType": "MKT", "price": "0"}


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    return Trader(broker)


@pytest.fixture
def vendor(broker: SimulatedBroker) -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
        broker.reset()  # nothing is to be posted to a port that somebody else may have next


@pytest.fixture
def told(asha: Trader, vendor: Receiver) -> Receiver:
    """Give a receiver that is subscribed to Asha's orders."""
    assert asha.subscribe(vendor.url()) == TAKEN
    return vendor


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


async def test_a_vendor_is_told_of_every_step(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.order_switches(fillAtMost=4)
    number = asha.place()
    broker.set_price("IDEA-EQ", "13.95")
    asha.modify(number, price="14.10")
    asha.cancel(number)
    await settled(broker)
    assert told.said(number) == [
        ("NewAck", "PENDING"), ("New", "OPEN"), ("Fill", "OPEN"), ("Replaced", "OPEN"), ("Fill", "OPEN"),
        ("Canceled", "CANCELED"),
    ]  # fmt: skip
    _, _, first, *_, last = told.about(number)
    assert (first["fillshares"], first["flqty"], first["flprc"], first["avgprc"]) == ("4", "4", "13.95", "13.95")
    assert first["flid"] == asha.trades(number)[0]["fillId"]
    assert (last["fillshares"], last["cancelqty"], last["prc"], last["flid"]) == ("8", "2", "14.10", "")


async def test_a_stop_order_waits_triggers_and_fills(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    number = asha.place(priceType="SL", price="14.60", triggerPrice="14.50")
    broker.set_price("IDEA-EQ", "14.55")
    await settled(broker)
    assert told.said(number)[1:] == [
        ("New", "TRIGGER_PENDING"), ("Triggered", "OPEN"), ("Fill", "COMPLETE"),
    ]  # fmt: skip
    assert (told.payloads()[0]["prctyp"], told.payloads()[0]["trgprc"]) == ("SL-LMT", "14.50")


async def test_the_risk_systems_words_are_told(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    asha.place(qty="100000")
    await settled(broker)
    assert told.said()[-1] == ("Rejected", "REJECTED")
    assert told.payloads()[-1]["rejreason"].startswith("RED:Margin Shortfall")


async def test_a_late_rejection_is_told_although_nobody_looks(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    broker.order_switches(rejectNext={"reason": "RED:too late", "afterSeconds": 0.3})
    started = time.monotonic()
    asha.place()
    await arrived(told, 2)
    assert told.said() == [("NewAck", "PENDING"), ("Rejected", "REJECTED")]
    assert told.payloads()[-1]["rejreason"] == "RED:too late"
    assert told.received[1].at - started >= 0.3


async def test_opening_and_end_of_the_day_are_told_of_orders_of_the_seed_too(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    number = asha.place(orderType="AMO", price="13.00")
    broker.market_open()
    broker.day_end()
    await settled(broker)
    assert told.said(number) == [
        ("NewAck", "PENDING"), ("AMO received", "AMO received"), ("New", "OPEN"), ("Canceled", "CANCELED"),
    ]  # fmt: skip
    assert {each["amo"] for each in told.about(number)} == {"Yes"}
    ended = [each for each in told.payloads() if each["reporttype"] == "Canceled"]
    assert {each["tsym"] for each in ended} >= {"IDEA-EQ", "SBIN-EQ", "HDFCBANK-EQ"}


async def test_an_update_has_the_keys_of_its_sample_and_strings_alone(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    recorded = sample("webhook_order_update")
    asha.place(remarks="ours", product="MIS", **MARKET)
    broker.order_switches(remarksIn="nowhere")
    asha.place(remarks="ours")
    await settled(broker)
    assert all(each.keys() == recorded.keys() for each in told.payloads())
    assert {type(value) for each in told.payloads() for value in each.values()} == {str}
    assert {each.content_type for each in told.received} == {"application/json"}
    filled = told.payloads()[2]
    expected = {
        "actid": "AB1234", "exch": "NSE", "tsym": "IDEA-EQ", "qty": "10", "prd": "MIS", "pcode": "I", "trantype": "B",
        "prctyp": "MKT", "ret": "DAY", "status": "COMPLETE", "fillshares": "10", "avgprc": "14.20",
        "exchordid": f"11{filled['norenordno']}", "cancelqty": "", "amo": "",
    }  # fmt: skip
    assert {name: filled[name] for name in expected} == expected
    assert [each["remarks"] for each in told.payloads()] == ["ours"] * 3 + [""] * 2


async def test_nobody_elses_orders_are_told(broker: SimulatedBroker, told: Receiver) -> None:
    Trader(broker, "FO5678").place()
    await settled(broker)
    assert told.received == []


def test_the_recorded_subscription_is_taken(broker: SimulatedBroker, asha: Trader) -> None:
    url = sample("webhook_subscribe.request")["callbackUrl"]
    assert asha.subscribe(url) == TAKEN
    assert asha.subscribe(url) == TAKEN
    assert broker.subscriptions() == [{"userId": "AB1234", "callbackUrl": url}]
    assert broker.subscriptions("FO5678") == []
    assert asha.subscribe(url, call="unsubscribe") == TAKEN
    assert broker.subscriptions() == []
    refused = {"status": "Not ok", "message": "callbackUrl is not subscribed", "result": []}
    assert asha.subscribe(url, call="unsubscribe") == refused


def test_a_sixth_url_is_refused(broker: SimulatedBroker, asha: Trader) -> None:
    urls = [f"https://vendor.example/{number}" for number in range(6)]
    answers = [asha.subscribe(url) for url in urls]
    assert answers[:5] == [TAKEN] * 5
    assert answers[5] == {"status": "Not ok", "message": "Maximum 5 callback URLs are allowed", "result": []}
    assert asha.subscribe(urls[0]) == TAKEN
    assert Trader(broker, "FO5678").subscribe(urls[5]) == TAKEN
    assert [each["callbackUrl"] for each in broker.subscriptions("AB1234")] == urls[:5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "Missing callbackUrl"), ({"callbackUrl": "ftp://vendor.example/"}, "Invalid callbackUrl"),
        ({"callbackUrl": 1}, "Invalid callbackUrl"), ({"callbackUrl": "/hook"}, "Invalid callbackUrl"),
        ({"callbackUrl": "http://vendor.example:99999/"}, "Invalid callbackUrl"),
        ({"callbackUrl": "https://vendor.example/", "more": ""}, "Unknown more"), ([], "Invalid request"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", WEBHOOK_PATHS)
def test_what_is_no_url_is_refused(
    broker: SimulatedBroker, asha: Trader, call: str, content: object, words: str
) -> None:
    headers = {"Authorization": f"Bearer {asha.token}"}
    answered = httpx.post(f"{broker.url}{WEBHOOK_PATHS[call]}", headers=headers, json=content)
    assert (answered.status_code, answered.json()["message"]) == (200, words)
    assert broker.subscriptions() == []


@pytest.mark.parametrize("call", WEBHOOK_PATHS)
def test_a_dead_token_subscribes_nobody(broker: SimulatedBroker, asha: Trader, call: str) -> None:
    broker.expire()
    content = {"callbackUrl": "https://vendor.example/"}
    for headers in ({"Authorization": f"Bearer {asha.token}"}, {}):
        answered = httpx.post(f"{broker.url}{WEBHOOK_PATHS[call]}", headers=headers, json=content)
        assert (answered.status_code, answered.text) == (401, "Unauthorized")


def test_both_calls_are_written_down_counted_shaped_and_broken_as_any(broker: SimulatedBroker, asha: Trader) -> None:
    url = "https://vendor.example/hook"
    broker.forget_limits()
    for call in WEBHOOK_PATHS:
        broker.shape_call(call, "listOfEnvelopes")
        assert asha.subscribe(url, call=call) == [TAKEN]
        [written] = broker.received(call)
        assert (written["userId"], written["body"]) == ("AB1234", {"callbackUrl": url})
    assert broker.limits()["users"]["AB1234"] == {"order": 0, "data": 0, "nonTrading": 2}
    broker.break_call("subscribe", "notOk", after=True, times=1)
    assert asha.subscribe(url)["status"] == "Not ok"
    assert len(broker.subscriptions()) == 1


async def test_a_subscription_outlives_the_token_and_ends_with_a_reset(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    asha.place()
    broker.expire()
    broker.set_price("IDEA-EQ", "14.00")
    await settled(broker)
    assert told.said()[-1] == ("Fill", "COMPLETE")
    broker.reset()
    empty = {"subscriptions": [], "posted": 0, "lost": 0, "failed": 0, "waiting": 0, "deliveries": []}
    assert broker.webhooks() == empty
    before = len(told.received)
    Trader(broker).place()
    assert await settled(broker) == empty
    assert len(told.received) == before


async def test_every_url_of_a_user_is_told_until_it_is_taken_back(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    asha.subscribe(told.url("other"))
    number = asha.place()
    await settled(broker)
    assert told.payloads("other") == told.payloads()
    asha.subscribe(told.url(), call="unsubscribe")
    asha.cancel(number)
    await settled(broker)
    assert (len(told.payloads()), len(told.payloads("other"))) == (2, 3)


async def test_no_order_waits_for_a_vendor_who_does_not_answer(
    broker: SimulatedBroker, asha: Trader, vendor: Receiver
) -> None:
    first, second = asha.place(), asha.place()
    asha.subscribe(vendor.url())
    vendor.status = None
    asha.cancel(first)
    await arrived(vendor, 1)
    assert asha.cancel(second)["status"] == "Ok"
    assert asha.standing(second) == ("CANCELED", "0")
    await arrived(vendor, 2)
    done = await settled(broker)
    assert (done["posted"], done["failed"], done["lost"]) == (0, 2, 0)
    assert [each["status"] for each in done["deliveries"]] == [None, None]
    assert [each["norenordno"] for each in vendor.payloads()] == [first, second]
    assert 1.5 < vendor.received[1].at - vendor.received[0].at < 6  # the two seconds of the first


async def test_what_waits_for_a_url_that_is_taken_back_is_not_posted(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    broker.webhook_switches(delaySeconds=0.3)
    asha.place()
    asha.subscribe(told.url("later"))
    asha.subscribe(told.url(), call="unsubscribe")
    asha.place()
    await arrived(told, 2)
    assert {each.path for each in told.received} == {"/later"}


async def test_what_waits_for_a_reset_simulator_is_not_posted(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    broker.webhook_switches(delaySeconds=0.3)
    asha.place()
    broker.reset()
    broker.webhook_switches(delaySeconds=0.3)
    again = Trader(broker)
    again.subscribe(told.url("later"))
    again.place()
    await arrived(told, 2)
    assert {each.path for each in told.received} == {"/later"}
    assert (await settled(broker))["posted"] == 2


async def test_nothing_is_tried_again_and_nobody_is_followed(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    asha.subscribe(nobody)
    told.status = 302
    asha.cancel(asha.place())
    done = await settled(broker)
    assert (done["posted"], done["failed"]) == (3, 3)
    outcomes = {(each["callbackUrl"], each["status"]) for each in done["deliveries"]}
    assert outcomes == {(told.url(), 302), (nobody, None)}
    assert [each.path for each in told.received] == ["/hook"] * 3


async def test_what_is_too_much_to_wait_is_lost_and_counted() -> None:
    tally = Tally()
    postman = Postman(tally)
    line = Line("AB1234", "http://127.0.0.1:1/", postman)
    for _ in range(2003):
        line.put(Post({}, times=2))
    assert (tally.lost, line.waiting) == (6, 4000)
    await postman.close()
    assert tally.posted + tally.failed == 0


async def test_the_last_deliveries_are_shown_until_they_are_forgotten(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    number = asha.place()
    done = await settled(broker)
    assert done["deliveries"][0] == {
        "userId": "AB1234", "callbackUrl": told.url(), "payload": told.payloads()[0], "status": 200,
    }  # fmt: skip
    broker.forge_webhooks(times=203, norenordno="1")
    done = await settled(broker)
    assert (done["posted"], len(done["deliveries"])) == (205, 200)
    assert number not in {each["payload"]["norenordno"] for each in done["deliveries"]}
    broker.forget_webhook_deliveries()
    forgotten = broker.webhooks()
    assert (forgotten["posted"], forgotten["deliveries"], len(forgotten["subscriptions"])) == (0, [], 1)
