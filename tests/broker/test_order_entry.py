"""What goes out for an order: the fields and words of the recorded requests, and nothing else."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.broker.answers import read_rows
from app.broker.order_entry import cancel_item, change_body, conversion_body, margin, margin_body, place_item
from app.broker.paths import Call, Paths
from app.broker.transport import Answer
from app.ordering import Conversion, OrderTerms
from app.problems import BrokerFault

SAMPLES = Path(__file__).parents[1] / "samples"
TERMS: dict[str, Any] = {
    "exchange": "NSE", "tradingSymbol": "ZOMATO-EQ", "transactionType": "BUY", "quantity": 1, "product": "MIS",
    "orderType": "LIMIT", "price": "52",
}  # fmt: skip


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


def terms(**changed: Any) -> OrderTerms:
    return OrderTerms.model_validate(TERMS | changed)


def test_an_order_goes_out_as_recorded() -> None:
    [recorded] = sample("orders_execute.request")
    assert place_item(terms(), None, {}) == recorded | {"source": "API"}
    assert place_item(terms(), None, {"remarks": "P1"}) == recorded | {"source": "API", "remarks": "P1"}


def test_a_change_goes_out_as_recorded() -> None:
    recorded = sample("orders_modify.request")
    wanted = terms(orderType="MARKET", price=None, quantity=5)
    assert change_body("23060200005839", wanted, None) == recorded


def test_a_margin_is_asked_as_recorded() -> None:
    assert margin_body(terms(orderType="MARKET", price=None)) == sample("orders_getmargin.request")


def test_a_cancel_and_a_conversion_go_out_as_recorded() -> None:
    assert [cancel_item("23112300006393")] == sample("orders_cancel.request")
    wanted = {"exchange": "NSE", "tradingSymbol": "ABB-EQ", "transactionType": "BUY", "quantity": 2,
              "fromProduct": "MIS", "toProduct": "CNC", "positionType": "DAY"}  # fmt: skip
    recorded = sample("positions_conversion.request")
    assert conversion_body(Conversion.model_validate(wanted)) == recorded | {"orderSource": "API"}


@pytest.mark.parametrize(
    ("changed", "sent"),
    [
        ({"orderType": "SL", "triggerPrice": "51.95"}, {"priceType": "SL", "price": "52", "triggerPrice": "51.95"}),
        (
            {"orderType": "SL-M", "price": None, "triggerPrice": "53"},
            {"priceType": "SL-M", "price": "0", "triggerPrice": "53", "mktProtection": "2.5"},
        ),
        ({"orderType": "MARKET", "price": None}, {"priceType": "MKT", "price": "0", "mktProtection": "2.5"}),
        ({"transactionType": "SELL", "variety": "AMO"}, {"transType": "S", "orderType": "AMO", "mktProtection": ""}),
        ({"validity": "IOC", "quantity": 20, "disclosedQuantity": 5}, {"ret": "IOC", "disclosedQty": "5"}),
        ({"price": "0.0025"}, {"price": "0.0025"}),
    ],
)
def test_each_word_of_ours_has_its_word(changed: dict[str, Any], sent: dict[str, str]) -> None:
    item = place_item(terms(**changed), Decimal("2.5"), {})
    assert {name: item[name] for name in sent} == sent
    assert all(isinstance(value, str) for value in item.values())


def test_a_margin_is_read_and_nothing_is_made_up() -> None:
    body = json.dumps(sample("orders_getmargin.ok.insufficient")).encode()
    found = margin(read_rows(Answer(200, "application/json", body)))
    assert (found.required_margin, found.margin_shortfall) == (Decimal("3.69"), Decimal("3.69"))
    assert found.remarks == "Insufficient Balance"
    with pytest.raises(BrokerFault):
        margin([{"something": "else"}])


@pytest.mark.parametrize("call", ["place", "modify", "cancel", "convert"])
def test_what_does_something_has_one_path(call: str) -> None:
    with pytest.raises(ValueError, match="one path"):
        Paths(("x",), {call: ["a/b", "c/d"]})
    assert Paths(("x",), {call: "a/b"}).of(Call[call.upper()]) == ["a/b"]
