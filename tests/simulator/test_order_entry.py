"""Placing, changing, cancelling, weighing and converting at the simulated broker, over real sockets."""

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from simulator.calls import CALLS, ORDER_PATHS
from simulator.shapes import shape_names
from tests.simulator.trader import Trader, a_change, an_order, rows
from tests.support.simulated import SimulatedBroker


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    return Trader(broker)


def at_market(**changed: str) -> dict[str, str]:
    return {"priceType": "MKT", "price": "0"} | changed


def test_an_order_is_answered_as_the_documents_show(asha: Trader) -> None:
    answer = asha.send("place", [an_order()]).json()
    [envelope] = answer
    [row] = envelope["result"]
    assert (envelope["status"], envelope["message"]) == ("Ok", "Success")
    assert set(row) == {"requestTime", "orderNo"}
    assert re.fullmatch(r"\d\d:\d\d:\d\d \d\d-\d\d-\d{4}", row["requestTime"])
    today = datetime.now(UTC).astimezone(ZoneInfo("Asia/Kolkata"))  # noqa: TID251  # the simulator's clock is the real one
    assert re.fullmatch(rf"{today:%y%m%d}\d{{8}}", row["orderNo"])


def test_numbers_are_unique_over_everybody_and_outlive_a_reset(broker: SimulatedBroker) -> None:
    seen = []
    for _ in range(2):
        broker.reset()
        traders = [Trader(broker), Trader(broker, "FO5678")]
        seen += [trader.place() for trader in traders for _ in range(3)]
    assert len(set(seen)) == 12
    assert seen == sorted(seen)


def test_several_items_are_taken_or_refused_each_for_itself(asha: Trader) -> None:
    answer = asha.send("place", [an_order(), an_order(exchange="X"), an_order(qty="3")]).json()
    assert [each["status"] for each in answer] == ["Ok", "Not ok", "Ok"]
    assert [row["qty"] for row in asha.book()[-2:]] == ["10", "3"]


def test_a_placed_order_stands_in_the_book_like_those_of_the_seed(asha: Trader) -> None:
    number = asha.place(remarks="ours")
    seeded, placed = asha.book()[0], asha.row(number)
    assert placed.keys() == seeded.keys()
    assert (placed["orderStatus"], placed["fillShares"], placed["price"]) == ("OPEN", "0", "14.00")
    assert placed["exchOrderId"]
    assert asha.book()[-1] == placed


def test_trades_histories_and_positions_have_the_keys_of_the_seed(asha: Trader) -> None:
    seeded = asha.book()[1]["orderNo"]
    number = asha.place(**at_market())
    [trade] = asha.trades(number)
    assert trade.keys() == asha.trades(seeded)[0].keys()
    assert asha.history(number)[0].keys() == asha.history(seeded)[0].keys()
    bought, held = asha.position("IDEA-EQ", "C"), asha.position("TATASTEEL-EQ", "C")
    assert bought is not None
    assert held is not None
    assert bought.keys() == held.keys()


def test_a_history_tells_every_step_the_newest_first(broker: SimulatedBroker, asha: Trader) -> None:
    number = asha.place()
    assert [(step["status"], step["report"]) for step in asha.history(number)] == [
        ("OPEN", "New"), ("PENDING", "NewAck"),
    ]  # fmt: skip
    asha.modify(number, price="14.05")
    broker.set_price("IDEA-EQ", "14.05")
    assert [step["report"] for step in asha.history(number)] == ["Fill", "Replaced", "New", "NewAck"]
    assert [step["price"] for step in asha.history(number)] == ["14.05", "14.05", "14.00", "14.00"]


def test_the_orders_of_the_seed_are_as_they_were(asha: Trader) -> None:
    statuses = [row["orderStatus"] for row in asha.book()]
    assert statuses == ["OPEN", "COMPLETE", "REJECTED", "TRIGGER_PENDING", "CANCELED", "AMO received"]
    first = asha.book()[0]
    assert [step["status"] for step in asha.history(first["orderNo"])] == ["OPEN", "PENDING"]
    assert asha.funds()["marginUsed"] == 3_970.0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"exchange": "NYSE"}, "Invalid exchange"), ({"transType": "BUY"}, "Invalid transType"),
        ({"product": "C"}, "Invalid product"), ({"priceType": "LMT"}, "Invalid priceType"),
        ({"orderType": "BO"}, "Invalid orderType"), ({"ret": "GTC"}, "Invalid ret"), ({"qty": "0"}, "Invalid qty"),
        ({"qty": "1.5"}, "Invalid qty"), ({"price": ""}, "Invalid price"), ({"price": "-1"}, "Invalid price"),
        ({"tradingSymbol": ""}, "Invalid tradingSymbol"), ({"source": "FAX"}, "Invalid source"),
        ({"price": "0"}, "Price must be 0 for MKT and SL-M"),
        ({"priceType": "MKT"}, "Price must be 0 for MKT and SL-M"),
        ({"priceType": "SL-M", "price": "0"}, "Trigger price is needed for SL and SL-M"),
        ({"priceType": "SL", "triggerPrice": "14.50"}, "Trigger price is above the price"),
        ({"priceType": "SL", "transType": "S", "triggerPrice": "13"}, "Trigger price is below the price"),
        ({"disclosedQty": "11"}, "Disclosed quantity is more than quantity"),
        ({"order_no": "1"}, "Unknown order_no"), ({"exchange": "NFO"}, "RED:Exchange NFO is not enabled for AB1234"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_refused_and_nothing_is_taken(
    broker: SimulatedBroker, asha: Trader, changed: dict[str, str], words: str
) -> None:
    assert asha.refusal(**changed) == words
    assert broker.taken() == []


@pytest.mark.parametrize(
    ("call", "content", "words"),
    [
        ("place", {}, "Invalid request"), ("place", [], "Invalid request"), ("place", ["x"], "Invalid request"),
        ("place", [{name: value for name, value in an_order().items() if name != "ret"}], "Missing ret"),
        ("place", [an_order() | {"qty": 10}], "Invalid qty"), ("cancel", {"orderNo": "1"}, "Invalid request"),
        ("cancel", [{}], "Missing orderNo"), ("modify", [], "Invalid request"),
        ("modify", {"exchange": "NSE"}, "Missing qty"), ("modify", a_change(""), "Invalid orderNo"),
        ("margin", {}, "Missing exchange"), ("convert", {}, "Missing exchange"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_in_words(asha: Trader, call: str, content: Any, words: str) -> None:
    answered = asha.send(call, content)
    envelope = answered.json()
    [envelope] = envelope if isinstance(envelope, list) else [envelope]
    assert answered.status_code == 200
    assert envelope == {"status": "Not ok", "message": words, "result": []}


@pytest.mark.parametrize("call", sorted(ORDER_PATHS))
def test_nobody_trades_without_a_token(broker: SimulatedBroker, call: str) -> None:
    for path in ORDER_PATHS[call]:
        answered = httpx.post(f"{broker.url}{path}", json=[an_order()])
        assert (answered.status_code, answered.text) == (401, "Unauthorized")
    assert broker.taken() == []


def test_cancelling_ends_an_open_order_once(asha: Trader) -> None:
    number = asha.place()
    answer = asha.cancel(number)
    assert answer["status"] == "Ok"
    assert set(answer["result"][0]) == {"requestTime", "orderNo"}
    assert answer["result"][0]["orderNo"] == number
    assert asha.row(number)["orderStatus"] == "CANCELED"
    assert asha.cancel(number)["message"] == "SAF:order is not open to cancel"
    assert asha.modify(number)["message"] == "SAF:order is not open to modify"


def test_orders_of_the_seed_can_be_changed_and_cancelled(asha: Trader) -> None:
    number = asha.book()[0]["orderNo"]
    assert asha.modify(number, qty="60", price="14.10")["status"] == "Ok"
    assert asha.modify(number, qty="30", price="14.10")["message"] == "SAF:quantity is below what is filled"
    assert asha.cancel(number)["status"] == "Ok"
    assert asha.standing(number) == ("CANCELED", "40")


def test_another_investors_order_is_not_there(broker: SimulatedBroker, asha: Trader) -> None:
    theirs = Trader(broker, "FO5678").place()
    assert asha.cancel(theirs)["message"] == "ORA:order not found"
    assert asha.modify("1")["message"] == "ORA:order not found"


@pytest.mark.parametrize("path", range(len(ORDER_PATHS["modify"])))
def test_an_order_is_modified_as_a_whole(asha: Trader, path: int) -> None:
    number = asha.place()
    change = a_change(number, qty="20", price="13.50", disclosedQty="5", ret="IOC", mktProtection="2")
    [row] = asha.send("modify", change, path=path).json()["result"]
    assert set(row) == {"requestTime", "orderNo"}
    assert row["orderNo"] == number
    found = asha.row(number)
    expected = {"qty": "20", "price": "13.50", "disclosedQty": "5", "ret": "IOC", "mktProtection": "2"}
    assert found | expected == found
    assert found["orderStatus"] == "CANCELED"  # what can't wait does not


def test_an_order_keeps_its_symbol_and_side_and_what_it_can_be_paid_with(asha: Trader) -> None:
    number = asha.place()
    assert asha.modify(number, tradingSymbol="SBIN-EQ")["message"] == "ORA:order is of another symbol or side"
    assert asha.modify(number, transType="S")["message"] == "ORA:order is of another symbol or side"
    assert asha.modify(number, qty="100000")["message"].startswith("RED:Margin Shortfall:INR ")
    assert asha.row(number)["qty"] == "10"


def test_a_buy_beyond_the_funds_is_taken_and_then_rejected(asha: Trader) -> None:
    number = asha.place(qty="2000", price="14.00")
    row = asha.row(number)
    assert row["orderStatus"] == "REJECTED"
    assert row["rejectedReason"] == "RED:Margin Shortfall:INR 6,969.50 Available:INR 21,030.50 for C-AB1234 [NSE]"
    assert row["exchOrderId"] is None
    assert [step["report"] for step in asha.history(number)] == ["Rejected", "NewAck"]


def test_open_buys_bind_funds_until_they_are_gone(asha: Trader) -> None:
    number = asha.place(qty="100", price="14.00")
    assert asha.funds()["availableMargin"] == 19_630.5
    asha.cancel(number)
    assert asha.funds()["availableMargin"] == 21_030.5
    asha.place(**at_market(qty="100"))
    assert asha.funds()["marginUsed"] == 5_390.0
    asha.place(**at_market(qty="100", transType="S"))
    assert asha.funds()["marginUsed"] == 3_970.0


def test_fills_change_the_position_of_their_product(asha: Trader) -> None:
    asha.place(**at_market(qty="5", tradingSymbol="TATASTEEL-EQ"))
    asha.place(**at_market(qty="10", product="MIS", transType="S"))
    grown, short = asha.position("TATASTEEL-EQ", "C"), asha.position("IDEA-EQ", "I")
    assert grown is not None
    assert short is not None
    assert (grown["netQty"], grown["netBuyQty"], grown["netBuyAvgPrice"]) == ("25", "25", "142.51")
    assert (short["netQty"], short["averagePrice"], short["netBuyAvg"]) == ("-10", "14.20", "NaN")


def test_a_margin_is_weighed_and_nothing_is_taken(broker: SimulatedBroker, asha: Trader) -> None:
    wanted = {
        name: an_order()[name]
        for name in (
            "exchange", "tradingSymbol", "qty", "price", "product", "transType", "priceType", "orderType",
            "triggerPrice", "stopLoss",
        )
    }  # fmt: skip
    [enough] = rows(asha.send("margin", wanted).json())
    assert enough == {
        "remarks": "", "marginUsed": 3970.0, "openingBalance": 25000.5, "requiredMargin": 140.0,
        "availableMargin": 21030.5, "marginShortfall": 0.0,
    }  # fmt: skip
    [short] = rows(asha.send("margin", wanted | {"qty": "2000"}).json())
    assert (short["remarks"], short["marginShortfall"]) == ("Insufficient Balance", 6969.5)
    assert broker.taken() == []


def conversion(**changed: str) -> dict[str, str]:
    return {
        "exchange": "NSE", "tradingSymbol": "TATASTEEL-EQ", "qty": "5", "product": "MIS", "prevProduct": "CNC",
        "transType": "B", "posType": "DAY", "orderSource": "API",
    } | changed  # fmt: skip


def test_a_part_of_a_position_is_converted(asha: Trader) -> None:
    assert asha.send("convert", conversion()).json() == {"status": "Ok", "message": "Success", "result": []}
    left, moved = asha.position("TATASTEEL-EQ", "C"), asha.position("TATASTEEL-EQ", "I")
    assert left is not None
    assert moved is not None
    assert (left["netQty"], moved["netQty"], moved["averagePrice"], moved["token"]) == ("15", "5", "142.50", "3499")


@pytest.mark.parametrize("changed", [{"qty": "21"}, {"transType": "S"}, {"prevProduct": "NRML"}, {"product": "CNC"}])
def test_what_is_not_held_is_not_converted(asha: Trader, changed: dict[str, str]) -> None:
    answer = asha.send("convert", conversion(**changed)).json()
    assert answer == {"status": "Not ok", "message": "SAF:no such position to convert", "result": []}


def test_the_page_of_2023_answers_with_one_object(broker: SimulatedBroker, asha: Trader) -> None:
    broker.shape_call("place", "2023")
    answer = asha.send("place", [an_order(), an_order(qty="0")]).json()
    taken, refused = answer["result"]
    assert (answer["status"], taken["orderNo"]) == ("Ok", asha.book()[-1]["orderNo"])
    assert refused == {"status": "Not ok", "message": "Invalid qty"}
    assert asha.send("place", [an_order(qty="0")]).json()["status"] == "Not ok"


def test_lists_and_objects_can_change_places(broker: SimulatedBroker, asha: Trader) -> None:
    number = asha.place()
    for call in ("modify", "margin", "convert"):
        broker.shape_call(call, "listOfEnvelopes")
    broker.shape_call("cancel", "object")
    assert asha.send("modify", a_change(number)).json()[0]["status"] == "Ok"
    assert asha.send("margin", {}).json()[0]["status"] == "Not ok"
    assert asha.send("convert", conversion()).json()[0]["status"] == "Ok"
    assert asha.send("cancel", [{"orderNo": number}]).json()["status"] == "Ok"


def test_every_call_has_shapes() -> None:
    assert all(shape_names(call) for call in CALLS)
