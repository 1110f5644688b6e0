"""The same request again does nothing again, at whichever replica; and what counts as the same."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.support.investor import slug
from tests.support.replicas import CONVERSION, ORDER, Replicas, Trader, fresh_key, is_second, received, trading
from tests.support.simulated import SimulatedBroker

KEY = "of-this-very-order"


async def test_a_repeated_order_is_answered_from_memory_on_either_replica(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    first = await asha.place(KEY)
    assert "idempotency-replayed" not in first.headers
    for service in replicas.both:
        again = await asha.place(KEY, at=service)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        assert again.headers["location"] == first.headers["location"]
        assert again.json()["placementId"] == first.json()["placementId"]
    assert len(broker.received("place")) == 1


async def test_a_repetition_tells_how_things_stand_by_now(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "reset", times=1, after=True)
    first = await asha.place(KEY)
    assert first.status_code == 202
    assert (await asha.place(KEY)).status_code == 202
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(first.json()["placementId"], "accepted")
    again = await asha.place(KEY, at=replicas.second)
    assert (again.status_code, again.json()) == (201, placement)


async def test_a_repetition_needs_no_broker(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    await asha.place(KEY)
    broker.expire()
    assert slug(await asha.get("/v1/funds")) == "broker-session-expired"
    assert (await asha.place(KEY)).status_code == 201
    assert slug(await asha.place()) == "broker-session-expired"


@pytest.mark.parametrize(
    "spelt",
    [
        {"price": "52"}, {"price": "52.0"}, {"price": "52.00"}, {"price": "052.0000"},
        {"validity": "DAY", "variety": "REGULAR", "triggerPrice": None, "disclosedQuantity": None},
        {"triggerPrice": "0", "disclosedQuantity": 0, "allowDuplicate": False},
    ],
)  # fmt: skip
async def test_the_same_order_may_be_spelt_differently(
    broker: SimulatedBroker, asha: Trader, spelt: dict[str, Any]
) -> None:
    sale: dict[str, Any] = ORDER | {"transactionType": "SELL", "product": "MIS", "price": "52.0"}
    first = await asha.place(KEY, order=sale)
    again = await asha.place(KEY, order=sale | spelt)
    assert (first.status_code, again.status_code, is_second(again)) == (201, 201, True)
    assert len(broker.received("place")) == 1


@pytest.mark.parametrize(
    "changed",
    [{"quantity": 11}, {"price": "14.01"}, {"transactionType": "SELL"}, {"product": "MIS"}, {"validity": "IOC"},
     {"variety": "AMO"}, {"tradingSymbol": "ITC-EQ"}, {"disclosedQuantity": 1}, {"allowDuplicate": True},
     {"exchange": "BSE"}, {"orderType": "SL", "triggerPrice": "13.90"}],
)  # fmt: skip
async def test_another_order_under_the_same_key_is_refused(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, changed: dict[str, Any]
) -> None:
    await asha.place(KEY)
    answer = await asha.place(KEY, at=replicas.second, **changed)
    assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")
    assert len(broker.received("place")) == 1


async def test_another_request_under_the_same_key_is_refused(broker: SimulatedBroker, asha: Trader) -> None:
    placed = await asha.place(KEY)
    order_no = placed.json()["orders"][0]["orderNo"]
    for answer in (
        await asha.modify(order_no, {"price": "13.90"}, KEY),
        await asha.convert(KEY),
        await asha.delete(f"/v1/orders/{order_no}", headers={"Idempotency-Key": KEY}),
    ):
        assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")
    assert [broker.received(call) for call in ("modify", "convert", "cancel")] == [[], [], []]


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [("POST", "/v1/orders", ORDER), ("PATCH", "/v1/orders/26112300000001", {"price": "14.05"}),
     ("POST", "/v1/positions/convert", CONVERSION)],
)  # fmt: skip
async def test_nothing_is_done_without_a_key(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, method: str, path: str, content: dict[str, Any]
) -> None:
    answer = await asha.request(method, path, json=content)
    assert (answer.status_code, slug(answer)) == (400, "idempotency-key-missing")
    assert await replicas.store.intents() == []


@pytest.mark.parametrize("keys", [[""], ["a" * 256], ["\u00e4"], ["a\tb"], ["one", "another"]], ids=repr)
async def test_what_is_no_key_is_refused_with_a_pointer(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, keys: list[str]
) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1")) for key in keys]
    answer = await asha.post("/v1/orders", json=ORDER, headers=headers)
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/header/Idempotency-Key"]
    assert await replicas.store.intents() == []


@pytest.mark.parametrize(
    "key", ["k", "a" * 255, "a b", "7c1de0a6-3e0f-4f4a-9d3c-0a7f5a1c9b52", "~!\"#$%&'()*+,/:;<=>?@"]
)
async def test_any_printable_text_is_a_key(broker: SimulatedBroker, asha: Trader, key: str) -> None:
    answers = [await asha.place(key) for _ in range(2)]
    assert [is_second(each) for each in answers] == [False, True]


async def test_while_the_first_is_under_way_the_second_waits(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "hanging", times=1, after=True)
    first = asyncio.create_task(asha.place(KEY))
    await received(broker, "place")
    for service in replicas.both:
        second = await asha.place(KEY, at=service)
        assert (second.status_code, slug(second)) == (409, "idempotency-key-in-use")
        assert second.headers["retry-after"] == "1"
        assert second.json()["placementId"] == str((await replicas.store.intents())[0]["id"])
        assert slug(await asha.place(KEY, at=service, quantity=11)) == "idempotency-key-reused"
    answer = await first
    assert answer.status_code == 202
    again = await asha.place(KEY, at=replicas.second)
    assert (again.status_code, is_second(again)) == (202, True)
    assert again.json()["placementId"] == answer.json()["placementId"]
    assert len(broker.received("place")) == 1


async def test_a_sender_that_never_came_back_is_not_waited_for_for_ever(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """From the moment at which it counts as lost the answer is 202, whether or not somebody has looked."""
    answer = await asha.place(KEY)
    await replicas.store.rows.execute(
        "UPDATE intents SET state = 'sending', resolved_at = NULL, resolved_by = NULL, doubtful_at = now()"
    )
    again = await asha.place(KEY)
    assert (again.status_code, is_second(again), again.json()["outcome"]) == (202, True, "unknown")
    assert again.json()["placementId"] == answer.json()["placementId"]


async def test_somebody_elses_key_is_another_key(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    async with trading(replicas.second, broker, "FO5678") as farhan:
        answers = await asyncio.gather(*(each.place(KEY) for each in (asha, farhan, asha, farhan)))
        hers, his = await asha.place(KEY), await farhan.place(KEY)
    assert sum(not is_second(each) for each in answers) == 2
    assert hers.json()["placementId"] != his.json()["placementId"]
    assert [(each["userId"], each["orderNo"]) for each in broker.taken("AB1234")] == [
        ("AB1234", hers.json()["orders"][0]["orderNo"])
    ]
    assert [each["orderNo"] for each in broker.taken("FO5678")] == [his.json()["orders"][0]["orderNo"]]


async def test_one_modification_is_sent_however_often_it_is_asked_for(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    order_no = await asha.placed()
    changes = [{"price": "14.05"}, {"price": "14.050"}, {"price": "14.0500"}]
    answers = await asyncio.gather(
        *(asha.modify(order_no, change, KEY, at=service) for change in changes for service in replicas.both)
    )
    [done] = [each for each in answers if not is_second(each)]
    assert (done.status_code, done.json()["outcome"], done.json()["action"]) == (200, "accepted", "MODIFY")
    assert done.headers["location"] == f"/v1/placements/{done.json()['placementId']}"
    again = await asha.modify(order_no, {"price": "14.05"}, KEY, at=replicas.second)
    assert (again.status_code, is_second(again), again.json()) == (200, True, done.json())
    other = await asha.modify(order_no, {"price": "14.05", "quantity": 10}, KEY)
    assert slug(other) == "idempotency-key-reused"
    assert len(broker.received("modify")) == 1
    assert (await asha.order(order_no))["price"] == "14.05"


async def test_one_conversion_is_sent_however_often_it_is_asked_for(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    answers = await asyncio.gather(*(asha.convert(KEY, at=service) for service in replicas.both for _ in range(3)))
    [done] = [each for each in answers if not is_second(each)]
    assert (done.status_code, done.json()["outcome"], done.json()["action"]) == (200, "accepted", "CONVERT")
    assert done.json()["conversion"] == CONVERSION
    again = await asha.convert(KEY, at=replicas.second)
    assert (again.status_code, is_second(again), again.json()) == (200, True, done.json())
    assert slug(await asha.convert(KEY, quantity=6)) == "idempotency-key-reused"
    assert len(broker.received("convert")) == 1


async def test_a_cancel_with_a_key_is_sent_once_and_one_without_is_safe_too(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    order_no = await asha.placed()
    answers = await asyncio.gather(*(
        asha.delete(f"{service.url}/v1/orders/{order_no}", headers={"Idempotency-Key": KEY})
        for service in replicas.both for _ in range(3)
    ))  # fmt: skip
    [done] = [each for each in answers if not is_second(each)]
    assert (done.status_code, done.json()["outcome"], done.json()["action"]) == (200, "accepted", "CANCEL")
    assert len(broker.received("cancel")) == 1
    assert (await asha.order(order_no))["status"] == "CANCELLED"
    for service in replicas.both:
        again = await asha.delete(f"{service.url}/v1/orders/{order_no}")
        assert (again.status_code, again.json()["outcome"]) == (200, "accepted")
    assert len(broker.received("cancel")) == 1, "what is known to be cancelled is not cancelled at the broker again"


async def test_an_order_equal_to_one_still_unknown_is_refused_until_a_second_one_is_meant(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(remarksIn="nowhere")
    broker.break_call("place", "reset", times=1, after=True)
    unknown = await asha.place(price="14.0")
    for service in replicas.both:
        twin = await asha.place(KEY, at=service, price="14.00")
        assert (twin.status_code, slug(twin)) == (409, "placement-unresolved")
        assert twin.json()["placementId"] == unknown.json()["placementId"]
    assert len(broker.received("place")) == 1
    assert (await asha.place(quantity=11)).status_code == 201
    assert (await asha.place(price="13.95")).status_code == 201
    meant = await asha.place(KEY, allowDuplicate=True)
    assert (meant.status_code, is_second(meant)) == (201, False), "what was refused before was not remembered"
    assert len(broker.taken()) == 4


async def test_an_order_equal_to_one_that_is_not_answered_at_once_is_refused_too(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """Whoever gives up waiting and sends it under a fresh key would buy twice."""
    broker.break_call("place", "hanging", times=1, after=True)
    first = asyncio.create_task(asha.place())
    await received(broker, "place")
    await replicas.store.rows.execute("UPDATE intents SET send_by = now()")
    twin = await asha.place(at=replicas.second)
    assert (twin.status_code, slug(twin)) == (409, "placement-unresolved")
    assert twin.json()["placementId"] == (await first).json()["placementId"]
    assert len(broker.received("place")) == 1


async def test_an_equal_order_passes_again_when_the_first_is_known(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "reset", times=1, after=True)
    unknown = await asha.place()
    await replicas.store.ask_for_a_look()
    await asha.becomes(unknown.json()["placementId"], "accepted")
    assert (await asha.place()).status_code == 201


async def test_somebody_elses_equal_order_is_no_twin(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    broker.break_call("place", "reset", times=1)
    assert (await asha.place()).status_code == 202
    async with trading(replicas.second, broker, "FO5678") as farhan:
        assert (await farhan.place()).status_code == 201


@pytest.mark.parametrize("fault", ["slow", "hanging"])
async def test_a_caller_who_hangs_up_stops_nothing(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    broker.break_call("place", fault, times=1, seconds=0.4 if fault == "slow" else None, after=True)
    leaving = asyncio.create_task(asha.place(KEY))
    await received(broker, "place")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    [intent] = await replicas.store.intents()
    placement = await asha.becomes(str(intent["id"]), "accepted")
    again = await asha.place(KEY, at=replicas.second)
    assert (again.status_code, is_second(again), again.json()["orders"]) == (201, True, placement["orders"])
    assert len(broker.received("place")) == len(broker.taken()) == 1


async def test_a_caller_who_hangs_up_at_once_has_an_order_or_none_but_never_two(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    for patience in (0.001, 0.003, 0.01, 0.02, 0.03):
        key = fresh_key()
        with suppress(httpx.TimeoutException):
            await asha.post(
                "/v1/orders", json=ORDER | {"quantity": 1}, headers={"Idempotency-Key": key}, timeout=patience
            )
        again = await asha.place(key, at=replicas.second, quantity=1)
        assert again.status_code in {201, 409}
    intents = await replicas.store.intents()
    assert len(broker.received("place")) == len(intents) == 5
