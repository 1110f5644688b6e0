"""Whatever the broker does with an order: it is sent once, told as what is known, and found out."""

from typing import Any

import httpx
import pytest

from tests.support.configured import configured
from tests.support.investor import slug
from tests.support.replicas import DEADLINE, PUBLIC, TERMS, Replicas, Trader, fresh_key, is_second, until
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker
from workbench.children import free_port

UNREADABLE = {
    "hanging": "broker-timeout", "drip": "broker-timeout", "reset": "broker-unavailable",
    "http500": "broker-unavailable", "http502": "broker-unavailable", "html200": "broker-fault",
    "empty200": "broker-fault",
    "emptyList": "broker-fault", "truncatedJson": "broker-fault", "huge": "broker-fault",
    "redirect302": "broker-fault", "http404": "broker-fault", "http405": "broker-fault",
    "okWithoutResult": "broker-fault",
}  # fmt: skip
DEAD = ["dead401List", "dead200SessionExpired", "deadEc087Status"]
LIMITED = ["http429", "limitText"]
REFUSALS = ["notOk", "not_ok", "Not_Ok", "error"]


def sent(broker: SimulatedBroker) -> list[Any]:
    """Return the bodies of all orders that reached the broker."""
    return [each["body"] for each in broker.received("place")]


def told_unknown(answer: httpx.Response, reason: str) -> str:
    """Hold an answer against how an unknown order is told, and return its placement's id."""
    placement = answer.json()
    assert (answer.status_code, placement["outcome"], placement["reason"]) == (202, "unknown", reason)
    assert answer.headers["location"] == f"/v1/placements/{placement['placementId']}"
    assert (placement["orders"], placement["candidates"], placement["resolvedAt"]) == ([], [], None)
    return str(placement["placementId"])


def told_refused(answer: httpx.Response, reason: str) -> str:
    """Hold an answer against how a refused order is told, and return its placement's id."""
    assert (answer.status_code, slug(answer)) == (422, "order-refused")
    assert answer.json()["reason"] == reason
    return str(answer.json()["placementId"])


async def test_an_accepted_order_is_told_with_its_number(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    answer = await asha.place()
    placement = answer.json()
    assert (answer.status_code, is_second(answer)) == (201, False)
    assert answer.headers["location"] == f"/v1/placements/{placement['placementId']}"
    [taken] = broker.taken()
    assert placement["orders"] == [{"orderNo": taken["orderNo"], "status": None, "rejectionReason": None}]
    assert (placement["outcome"], placement["action"], placement["reason"]) == ("accepted", "PLACE", None)
    assert placement["order"] == TERMS
    assert (await asha.get(f"{replicas.second.url}{answer.headers['location']}")).json() == placement
    assert sent(broker) == [[taken["item"]]]
    assert taken["item"] == {
        "exchange": "NSE", "tradingSymbol": "YESBANK-EQ", "qty": "10", "price": "14.00", "product": "CNC",
        "transType": "B", "priceType": "L", "orderType": "Regular", "ret": "DAY", "source": "API", "triggerPrice": "",
        "disclosedQty": "", "mktProtection": "", "target": "", "stopLoss": "", "trailingPrice": "",
        "remarks": taken["remarks"],
    }  # fmt: skip
    row = await asha.order(taken["orderNo"])
    assert (row["placementId"], row["status"]) == (placement["placementId"], "OPEN")


@pytest.mark.parametrize(("fault", "reason"), UNREADABLE.items())
async def test_an_order_whose_answer_nobody_can_read_is_unknown_and_then_found(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str, reason: str
) -> None:
    broker.break_call("place", fault, times=1, after=True)
    key = fresh_key()
    first, *others = await asha.place_many_times(key, replicas)
    assert all(is_second(each) for each in others)
    placement_id = told_unknown(first, reason)
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    [taken] = broker.taken()
    assert placement["orders"] == [{"orderNo": taken["orderNo"], "status": "OPEN", "rejectionReason": None}]
    assert (placement["reason"], placement["candidates"]) == (None, [])
    again = await asha.place(key, at=replicas.second)
    assert (again.status_code, is_second(again), again.json()) == (201, True, placement)
    assert len(sent(broker)) == 1


@pytest.mark.parametrize("fault", ["hanging", "reset", "http502", "html200", "http404", "okWithoutResult"])
async def test_an_order_that_was_perhaps_not_taken_stays_unknown(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    broker.break_call("place", fault, times=1)
    key = fresh_key()
    first, *others = await asha.place_many_times(key, replicas)
    assert all(is_second(each) for each in others)
    placement_id = told_unknown(first, UNREADABLE[fault])
    await replicas.store.looked()
    placement = await asha.placement(placement_id)
    assert (placement["outcome"], placement["reason"], placement["candidates"]) == ("unknown", "not-in-the-book", [])
    again = await asha.place(key, at=replicas.second)
    assert (again.status_code, is_second(again)) == (202, True)
    assert (len(sent(broker)), broker.taken()) == (1, [])


@pytest.mark.parametrize("fault", DEAD)
async def test_a_dead_session_counts_as_not_taken_until_the_book_shows_the_order(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    broker.break_call("place", fault, times=1, after=True)
    key = fresh_key()
    first, *others = await asha.place_many_times(key, replicas, times=2)
    assert (first.status_code, slug(first)) == (401, "broker-session-expired")
    placement_id = first.json()["placementId"]
    assert first.json()["loginUrl"] == f"{PUBLIC}/sso/login"
    assert all(each.status_code in {409, 422} for each in others)
    again = await asha.place(key, at=replicas.second)
    assert told_refused(again, "broker-session-expired") == placement_id
    assert is_second(again)
    assert slug(await asha.get("/v1/orders")) == "broker-session-expired"
    assert slug(await asha.place()) == "broker-session-expired"
    assert len(sent(broker)) == 1
    await asha.sign_in(broker)
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    assert [each["orderNo"] for each in placement["orders"]] == [each["orderNo"] for each in broker.taken()]
    assert (await asha.place(key)).status_code == 201
    assert len(sent(broker)) == 1


@pytest.mark.parametrize("fault", LIMITED)
async def test_the_brokers_limit_counts_as_not_taken_until_the_book_shows_the_order(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    broker.break_call("place", fault, times=1, after=True)
    key = fresh_key()
    first, *_ = await asha.place_many_times(key, replicas)
    placement_id = told_refused(first, "broker-rate-limited")
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    assert [each["orderNo"] for each in placement["orders"]] == [each["orderNo"] for each in broker.taken()]
    again = await asha.place(key)
    assert (again.status_code, again.json()) == (201, placement)
    assert len(sent(broker)) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("dead401Text", "broker-session-expired"), ("http429", "broker-rate-limited"),
     *((fault, "Please try after some time") for fault in REFUSALS)],
)  # fmt: skip
async def test_a_refused_order_stays_refused_and_is_not_tried_again(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str, reason: str
) -> None:
    broker.break_call("place", fault, times=1)
    key = fresh_key()
    first, *others = await asha.place_many_times(key, replicas)
    placement_id = first.json()["placementId"]
    if fault == "dead401Text":
        await asha.sign_in(broker)
    await replicas.store.looked()
    for answer in (await asha.place(key), await asha.place(key, at=replicas.second)):
        assert (told_refused(answer, reason), is_second(answer)) == (placement_id, True)
    placement = await asha.placement(placement_id)
    assert (placement["outcome"], placement["reason"], placement["orders"]) == ("refused", reason, [])
    assert placement["resolvedAt"] is not None
    assert all(is_second(each) for each in others)
    assert (len(sent(broker)), broker.taken()) == (1, [])
    await replicas.store.forget_pauses()
    assert (await asha.place()).status_code == 201, "a fresh key is a fresh try"


async def test_a_refusal_in_words_that_could_mean_anything_is_overridden_by_the_book(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "notOk", times=1, after=True)
    key = fresh_key()
    placement_id = told_refused(await asha.place(key), "Please try after some time")
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    assert [each["orderNo"] for each in placement["orders"]] == [each["orderNo"] for each in broker.taken()]
    assert (await asha.place(key, at=replicas.second)).status_code == 201
    assert len(sent(broker)) == 1


async def test_a_refusal_that_speaks_of_what_is_unauthorized_ends_no_session(
    broker: SimulatedBroker, asha: Trader
) -> None:
    words = "RED:User is unauthorized to trade in this segment, session expired for it"
    broker.order_switches(refuseNext=words)
    answer = await asha.place()
    told_refused(answer, words)
    assert answer.json()["detail"] == f"The broker says: {words}"
    assert (await asha.get("/v1/session")).json()["broker"]["connected"] is True
    assert (await asha.place()).status_code == 201


async def test_a_broker_that_is_down_has_been_sent_nothing(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """A third replica on the same database has nothing but a closed port to talk to."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = configured(replicas.database_url, nowhere, PUBLIC, broker_order_deadline=DEADLINE)
    async with serving(settings) as stranded:
        key = fresh_key()
        first = await asha.place(key, at=stranded)
        placement_id = told_refused(first, "not-sent")
        assert "Nothing was sent" in first.json()["detail"]
        again = await asha.place(key)
        assert (told_refused(again, "not-sent"), is_second(again)) == (placement_id, True)
        assert (await asha.place()).status_code == 201
    assert len(sent(broker)) == 1


async def test_an_order_that_the_risk_system_refuses_late_is_accepted_and_then_says_why(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    reason = "RED:Margin Shortfall:INR 12.00 for C-AB1234 [NSE]"
    broker.order_switches(rejectNext={"reason": reason, "afterSeconds": 0.3})
    key = fresh_key()
    answer = await asha.place(key)
    assert (answer.status_code, answer.json()["reason"]) == (201, None)
    placement_id, [order] = answer.json()["placementId"], answer.json()["orders"]
    rejected = order | {"status": "REJECTED", "rejectionReason": reason}

    async def is_rejected() -> bool:
        return bool(broker.taken()[0]["status"] == "REJECTED")

    await until(is_rejected)
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted", such_that=lambda found: found["orders"] == [rejected])
    assert placement["reason"] == reason
    row = await asha.order(order["orderNo"])
    assert (row["status"], row["rejectionReason"], row["placementId"]) == ("REJECTED", reason, placement_id)

    async def told() -> list[dict[str, Any]]:
        return await replicas.store.ledger("order-rejected")

    assert await until(told) == [{"intent": placement_id, "orderNo": order["orderNo"], "reason": reason}]
    again = await asha.place(key, at=replicas.second)
    assert (again.status_code, again.json()) == (201, placement)
    assert len(sent(broker)) == 1


@pytest.mark.parametrize("shape", ["current", "2023", "envelopePerSlice"])
async def test_one_placement_has_all_slices_of_its_order(broker: SimulatedBroker, asha: Trader, shape: str) -> None:
    broker.shape_call("place", shape)
    broker.order_switches(freezeQuantity=4)
    answer = await asha.place()
    assert answer.status_code == 201
    assert [each["orderNo"] for each in answer.json()["orders"]] == [each["orderNo"] for each in broker.taken()]
    assert len(answer.json()["orders"]) == 3
    assert len(sent(broker)) == 1


@pytest.mark.parametrize("shape", ["current", "2023", "envelopePerSlice"])
async def test_a_refused_slice_is_told_as_the_reason_of_an_accepted_placement(
    broker: SimulatedBroker, asha: Trader, shape: str
) -> None:
    broker.shape_call("place", shape)
    broker.order_switches(freezeQuantity=4, refusedSlice=1)
    answer = await asha.place()
    assert (answer.status_code, answer.json()["outcome"]) == (201, "accepted")
    assert [each["orderNo"] for each in answer.json()["orders"]] == [each["orderNo"] for each in broker.taken()]
    assert answer.json()["reason"] == "RED:Order slice is refused by the exchange's freeze quantity"


async def test_the_only_slice_refused_is_the_order_refused(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(refusedSlice=0)
    told_refused(await asha.place(), "RED:Order slice is refused by the exchange's freeze quantity")


@pytest.mark.parametrize("switches", [{"freezeQuantity": 4}, {"freezeQuantity": 4, "refusedSlice": 1}])
async def test_every_slice_of_an_unknown_order_is_found(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, switches: dict[str, Any]
) -> None:
    broker.order_switches(**switches)
    broker.break_call("place", "reset", times=1, after=True)
    answer = await asha.place()
    placement_id = told_unknown(answer, "broker-unavailable")
    numbers = [each["orderNo"] for each in broker.taken()]
    await asha.becomes(
        placement_id, "accepted", such_that=lambda found: [each["orderNo"] for each in found["orders"]] == numbers
    )
    assert len(sent(broker)) == 1


@pytest.mark.parametrize("remarks_in", ["history", "book"])
async def test_our_correlation_is_found_wherever_the_broker_echoes_it(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, remarks_in: str
) -> None:
    broker.order_switches(remarksIn=remarks_in)
    broker.break_call("place", "reset", times=1, after=True)
    placement_id = told_unknown(await asha.place(), "broker-unavailable")
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    [taken] = broker.taken()
    assert [each["orderNo"] for each in placement["orders"]] == [taken["orderNo"]]
    assert taken["remarks"] == (await replicas.store.intent(placement_id))["correlation"]
    asked = [each["body"]["orderNo"] for each in broker.received("orderHistory")]
    assert asked == ([taken["orderNo"]] if remarks_in == "history" else [])
    assert (await asha.order(taken["orderNo"]))["placementId"] == placement_id


async def test_without_an_echo_an_order_that_looks_like_it_is_a_candidate_and_no_more(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(remarksIn="nowhere")
    broker.break_call("place", "reset", times=1, after=True)
    key = fresh_key()
    placement_id = told_unknown(await asha.place(key), "broker-unavailable")
    [taken] = broker.taken()
    for _ in range(2):
        await replicas.store.looked()
        placement = await asha.placement(placement_id)
        assert (placement["outcome"], placement["candidates"]) == ("unknown", [taken["orderNo"]])
        assert (placement["reason"], placement["orders"]) == ("may-be-one-of-candidates", [])
    assert (await asha.order(taken["orderNo"]))["placementId"] is None
    assert (await asha.place(key)).status_code == 202
    assert slug(await asha.place()) == "placement-unresolved"
    assert len(sent(broker)) == 1
    assert len(broker.received("orderHistory")) == 1, "a history that said nothing is not read again and again"


async def test_an_order_that_the_book_shows_late_is_found_when_it_does(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    broker.break_call("place", "reset", times=1, after=True)
    placement_id = told_unknown(await asha.place(), "broker-unavailable")
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["reason"] == "not-in-the-book"
    broker.clear_order_switches()
    await replicas.store.ask_for_a_look()
    assert (await asha.becomes(placement_id, "accepted"))["reason"] is None


@pytest.mark.parametrize(("fault", "status"), [("slow", 201), ("hanging", 202)])
async def test_a_slow_answer_counts_only_within_the_deadline(
    broker: SimulatedBroker, asha: Trader, fault: str, status: int
) -> None:
    broker.break_call("place", fault, times=1, seconds=0.3 if fault == "slow" else 30, after=True)
    assert (await asha.place()).status_code == status
    assert len(broker.taken()) == len(sent(broker)) == 1
