"""What the simulated broker can be told to do to an order, and how to count what it took."""

import json
import time
from typing import Any

import httpx
import pytest

from simulator.calls import ORDER_PATHS
from simulator.faults import CANNED
from tests.simulator.trader import Trader, a_change, an_order
from tests.support.simulated import SimulatedBroker

MARKET = {"priceType": "MKT", "price": "0"}


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    return Trader(broker)


@pytest.mark.parametrize(
    ("switches", "in_book", "in_history"),
    [
        ({}, "absent", "ours"), ({"remarksIn": "history"}, "absent", "ours"), ({"remarksIn": "book"}, "ours", "ours"),
        ({"remarksIn": "nowhere"}, "absent", None),
    ],
)  # fmt: skip
def test_remarks_are_echoed_where_it_is_switched(
    broker: SimulatedBroker, asha: Trader, switches: dict[str, Any], in_book: str, in_history: str | None
) -> None:
    broker.order_switches(**switches)
    number, silent = asha.place(remarks="ours"), asha.place()
    assert asha.row(number).get("remarks", "absent") == in_book
    assert {step["remarks"] for step in asha.history(number)} == {in_history}
    assert {step["remarks"] for step in asha.history(silent)} == {None}


def test_an_order_is_shown_when_its_time_has_come(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(shownAfterSeconds=0.6)
    number = asha.place(**MARKET)
    assert [row for row in asha.book() if row["orderNo"] == number] == []
    assert asha.read("orderHistory", {"orderNo": number})["status"] == "Not ok"
    assert asha.trades(number) == []
    assert [each["orderNo"] for each in broker.taken()] == [number]
    time.sleep(0.7)
    assert asha.standing(number) == ("COMPLETE", "10")
    assert asha.history(number)
    assert asha.trades(number)


def test_hidden_orders_are_shown_when_the_switches_are_put_back(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(shownAfterSeconds=600)
    number = asha.place()
    broker.order_switches(remarksIn="book")
    assert [row for row in asha.book() if row["orderNo"] == number] == []
    assert asha.cancel(number)["status"] == "Ok"
    broker.clear_order_switches()
    assert asha.standing(number) == ("CANCELED", "0")


def test_the_newest_row_can_lack_its_number(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(bookWithoutOrderNo=True)
    asha.place()
    assert ["orderNo" in row for row in asha.book()] == [True] * 6 + [False]


def test_a_quantity_above_the_freeze_limit_is_cut(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(freezeQuantity=4)
    [envelope] = asha.send("place", [an_order(remarks="ours")]).json()
    numbers = [row["orderNo"] for row in envelope["result"]]
    assert len(set(numbers)) == 3
    assert [asha.row(number)["qty"] for number in numbers] == ["4", "4", "2"]
    assert [each["remarks"] for each in broker.taken()] == ["ours"] * 3
    assert asha.refusal(qty="1000") == "RED:Quantity is above the freeze quantity of too many slices"


def test_one_slice_of_several_is_refused_in_its_row(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(freezeQuantity=4, refusedSlice=1)
    [envelope] = asha.send("place", [an_order()]).json()
    assert envelope["status"] == "Ok"
    first, refused, last = envelope["result"]
    assert [asha.row(row["orderNo"])["qty"] for row in (first, last)] == ["4", "2"]
    assert refused["status"] == "Not ok"
    assert refused["message"].startswith("RED:")
    assert "orderNo" not in refused
    assert len(broker.taken()) == 2


def test_slices_can_come_in_an_envelope_each(broker: SimulatedBroker, asha: Trader) -> None:
    broker.shape_call("place", "envelopePerSlice")
    broker.order_switches(freezeQuantity=4, refusedSlice=1)
    answer = asha.send("place", [an_order()]).json()
    assert [(each["status"], len(each["result"])) for each in answer] == [("Ok", 1), ("Not ok", 0), ("Ok", 1)]


def test_the_only_slice_refused_is_the_order_refused(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(refusedSlice=0)
    assert asha.refusal().startswith("RED:")
    assert broker.taken() == []


def test_the_next_order_is_rejected_and_none_after_it(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(rejectNext={"reason": "ALGO_CHK:Market order is not allowed"})
    rejected, fine = asha.place(**MARKET), asha.place(**MARKET)
    assert asha.row(rejected)["rejectedReason"] == "ALGO_CHK:Market order is not allowed"
    assert asha.standing(rejected) == ("REJECTED", "0")
    assert asha.standing(fine) == ("COMPLETE", "10")


def test_a_rejection_can_come_late(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(rejectNext={"reason": "RED:too late", "afterSeconds": 0.6})
    number = asha.place(**MARKET)
    assert asha.standing(number) == ("PENDING", "0")
    time.sleep(0.7)
    assert broker.taken()[0]["status"] == "REJECTED"
    assert asha.row(number)["rejectedReason"] == "RED:too late"


def test_a_cancel_can_be_earlier_than_a_late_rejection(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(rejectNext={"reason": "RED:too late", "afterSeconds": 0.3})
    number = asha.place()
    asha.cancel(number)
    time.sleep(0.4)
    assert asha.standing(number) == ("CANCELED", "0")


def test_the_next_call_is_refused_at_once_and_nothing_is_taken(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(refuseNext="ALGO_CHK:IP is not whitelisted")
    assert asha.refusal() == "ALGO_CHK:IP is not whitelisted"
    assert broker.taken() == []
    number = asha.place()
    for call in (asha.modify, asha.cancel):
        broker.order_switches(refuseNext="SAF:not now")
        assert call(number)["message"] == "SAF:not now"
    assert asha.standing(number) == ("OPEN", "0")


def test_switches_are_for_one_or_for_all_and_null_puts_one_back(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches("*", refuseNext="for anybody", freezeQuantity=4)
    broker.order_switches(freezeQuantity=5)
    assert asha.refusal() == "for anybody"
    farhan = Trader(broker, "FO5678")
    for trader in (asha, farhan):
        trader.send("place", [an_order()])
    quantities = [[each["qty"] for each in broker.taken(trader.user)] for trader in (asha, farhan)]
    assert quantities == [["5", "5"], ["4", "4", "2"]]
    broker.order_switches(freezeQuantity=None)
    broker.clear_order_switches("*")
    asha.place()
    assert httpx.get(f"{broker.url}/_simulator/state").json()["orders"] == []


@pytest.mark.parametrize("fault", sorted(CANNED))
def test_an_order_is_taken_although_the_answer_is_a_fault(broker: SimulatedBroker, asha: Trader, fault: str) -> None:
    broker.break_call("place", fault, after=True, times=1)
    answered = asha.send("place", [an_order(remarks="ours")])
    assert (answered.status_code, answered.content) == (CANNED[fault].status, CANNED[fault].body)
    [order] = broker.taken()
    assert (order["remarks"], order["status"]) == ("ours", "OPEN")
    broker.break_call("place", fault, times=1)
    asha.send("place", [an_order()])
    assert len(broker.taken()) == 1


@pytest.mark.parametrize("fault", ["hanging", "reset"])
def test_an_order_is_taken_although_there_is_no_answer(broker: SimulatedBroker, asha: Trader, fault: str) -> None:
    for is_taken in (True, False):
        broker.break_call("place", fault, seconds=0.2, after=is_taken)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            asha.send("place", [an_order()])
        assert len(broker.taken()) == 1


def test_a_slow_answer_is_the_right_one_before_or_after(broker: SimulatedBroker, asha: Trader) -> None:
    for after in (True, False):
        broker.break_call("place", "slow", seconds=0.2, after=after, times=1)
        assert asha.place() == broker.taken()[-1]["orderNo"]


def test_changes_and_cancels_happen_behind_a_fault_too(broker: SimulatedBroker, asha: Trader) -> None:
    number = asha.place()
    broker.break_call("*", "http502", after=True)
    assert asha.send("modify", a_change(number, price="13.00")).status_code == 502
    assert asha.send("cancel", [{"orderNo": number}]).status_code == 502
    broker.mend()
    assert (asha.row(number)["price"], asha.row(number)["orderStatus"]) == ("13.00", "CANCELED")


@pytest.mark.parametrize("call", sorted(ORDER_PATHS))
def test_every_order_call_can_be_broken(broker: SimulatedBroker, asha: Trader, call: str) -> None:
    broker.break_call(call, "dead401Text", times=1)
    assert asha.send(call, {}).status_code == 401
    [request] = broker.received(call)
    assert (request["userId"], request["body"]) == ("AB1234", {})


def test_orders_are_counted_in_the_order_of_receipt(broker: SimulatedBroker, asha: Trader) -> None:
    began_at = time.time()  # noqa: TID251  # the simulator's clock is the real one
    farhan = Trader(broker, "FO5678")
    numbers = [asha.place(remarks="ours"), farhan.place(**MARKET), asha.place(tradingSymbol="SBIN-EQ", **MARKET)]
    asha.cancel(numbers[0])
    listed = broker.taken()
    assert [each["orderNo"] for each in listed] == numbers
    assert [each["status"] for each in listed] == ["CANCELED", "COMPLETE", "COMPLETE"]
    first = listed[0]
    assert first.keys() == {"orderNo", "userId", "remarks", "at", "item", "qty", "status"}
    assert (first["userId"], first["remarks"], first["item"]) == ("AB1234", "ours", an_order(remarks="ours"))
    assert 0 <= first["at"] - began_at < 10
    narrowed = httpx.get(f"{broker.url}/_simulator/orders?userId=AB1234&tradingSymbol=SBIN-EQ").json()["orders"]
    assert [each["orderNo"] for each in narrowed] == numbers[2:]
    broker.reset()
    assert broker.taken() == []


def test_the_page_lists_what_was_taken_and_has_the_markets_buttons(broker: SimulatedBroker, asha: Trader) -> None:
    control = f"{broker.url}/_simulator"
    number = asha.place(orderType="AMO", remarks="<ours>")
    page = httpx.get(f"{control}/").text
    assert "Orders taken: 1" in page
    assert number in page
    assert "&lt;ours&gt;" in page
    httpx.post(f"{control}/switch-market", data={"action": "open"})
    assert asha.standing(number) == ("OPEN", "0")
    httpx.post(f"{control}/switch-market", data={"action": "end"})
    assert asha.standing(number) == ("CANCELED", "0")
    httpx.post(f"{control}/switch-market", data={"action": "move"})
    assert httpx.get(f"{control}/state").json()["pricesMove"] is True
    httpx.post(f"{control}/switch-market", data={"action": "stop"})
    assert httpx.post(f"{control}/switch-market", data={"action": "x"}).status_code == 422


def test_the_page_can_break_a_call_after_it_was_carried_out(broker: SimulatedBroker, asha: Trader) -> None:
    control = f"{broker.url}/_simulator"
    form = {"action": "set", "userId": "AB1234", "call": "place", "kind": "emptyList", "after": "yes"}
    httpx.post(f"{control}/switch", data=form)
    broker.order_switches(freezeQuantity=4)
    assert json.loads(asha.send("place", [an_order()]).content) == []
    assert len(broker.taken()) == 3
    page = httpx.get(f"{control}/").text
    assert "place: emptyList after it" in page
    assert "freezeQuantity: 4" in page
    httpx.post(f"{control}/switch", data={"action": "clear", "userId": "AB1234"})
    assert asha.place()
