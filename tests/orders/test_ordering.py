"""What may be asked for: the shape of an order, the rules of its prices, and what makes two orders the same."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.ordering import Conversion, NewOrder, OrderChange, OrderTerms, canonical, conversion_refusals, price_refusals

LIMIT: dict[str, Any] = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 10, "product": "CNC",
    "orderType": "LIMIT", "price": "14.10",
}  # fmt: skip


def terms(**changed: Any) -> OrderTerms:
    return OrderTerms.model_validate(LIMIT | changed)


def pointers(order: OrderTerms) -> list[str]:
    return [each.pointer for each in price_refusals(order)]


@pytest.mark.parametrize(
    "changed",
    [{}, {"orderType": "MARKET", "price": None}, {"orderType": "MARKET", "price": "0"}, {"disclosedQuantity": 10},
     {"orderType": "SL", "price": "14.10", "triggerPrice": "14.10"},
     {"orderType": "SL", "price": "14.10", "triggerPrice": "14.05"},
     {"orderType": "SL", "transactionType": "SELL", "price": "14.10", "triggerPrice": "14.15"},
     {"orderType": "SL-M", "price": "0", "triggerPrice": "14"}, {"triggerPrice": "0"}, {"disclosedQuantity": 0}],
)  # fmt: skip
def test_what_the_broker_would_take_may_be_sent(changed: dict[str, Any]) -> None:
    assert pointers(terms(**changed)) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"price": None}, ["/price"]), ({"price": "0"}, ["/price"]), ({"price": "0.00"}, ["/price"]),
     ({"triggerPrice": "1"}, ["/triggerPrice"]), ({"orderType": "MARKET"}, ["/price"]),
     ({"orderType": "MARKET", "price": None, "triggerPrice": "1"}, ["/triggerPrice"]),
     ({"orderType": "SL"}, ["/triggerPrice"]), ({"orderType": "SL", "price": None}, ["/price", "/triggerPrice"]),
     ({"orderType": "SL", "triggerPrice": "14.15"}, ["/triggerPrice"]),
     ({"orderType": "SL", "transactionType": "SELL", "triggerPrice": "14.05"}, ["/triggerPrice"]),
     ({"orderType": "SL-M"}, ["/price", "/triggerPrice"]), ({"disclosedQuantity": 11}, ["/disclosedQuantity"])],
)  # fmt: skip
def test_what_it_would_not_take_is_refused_at_its_place(changed: dict[str, Any], expected: list[str]) -> None:
    assert pointers(terms(**changed)) == expected


@pytest.mark.parametrize(
    "changed",
    [{"price": 14.1}, {"price": "14,10"}, {"price": "-1"}, {"price": "1e3"}, {"price": "NaN"}, {"price": "1.00001"},
     {"price": "1234567890"}, {"price": " 1"}, {"price": "\u0661"}, {"quantity": 0},
     {"quantity": -1}, {"quantity": "1"},
     {"quantity": 1.0}, {"quantity": True}, {"quantity": 10**9 + 1}, {"product": "BO"}, {"orderType": "LMT"},
     {"exchange": "NYSE"}, {"tradingSymbol": ""}, {"tradingSymbol": "A B"}, {"tradingSymbol": "A\n"},
     {"tradingSymbol": "A" * 65}, {"transactionType": "B"}, {"validity": "GTC"}, {"variety": "BO"},
     {"disclosedQuantity": -1}, {"disclosedQuantity": False}, {"remarks": "mine"}],
)  # fmt: skip
def test_what_is_no_order_is_no_order(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        terms(**changed)


@pytest.mark.parametrize(
    "changed",
    [{"price": "14.1"}, {"price": "14.1000"}, {"triggerPrice": None}, {"triggerPrice": "0"}, {"validity": "DAY"},
     {"variety": "REGULAR", "disclosedQuantity": 0}],
)  # fmt: skip
def test_equal_orders_are_equal_however_they_are_written(changed: dict[str, Any]) -> None:
    assert canonical(terms(**changed)) == canonical(terms())


@pytest.mark.parametrize("changed", [{"price": "14.11"}, {"quantity": 11}, {"variety": "AMO"}, {"validity": "IOC"}])
def test_different_orders_are_different(changed: dict[str, Any]) -> None:
    assert canonical(terms(**changed)) != canonical(terms())


def test_a_large_round_price_is_written_out() -> None:
    assert canonical(terms(price="52000"))["price"] == canonical(terms(price="52000.00"))["price"] == "52000"


def test_what_an_order_says_to_us_is_no_part_of_what_it_says_to_the_broker() -> None:
    order = NewOrder.model_validate(LIMIT | {"allowDuplicate": True})
    assert order.terms == terms()
    with pytest.raises(ValidationError):
        NewOrder.model_validate(LIMIT | {"allowDuplicate": "yes"})


def test_a_change_keeps_what_it_does_not_name() -> None:
    changed = OrderChange.model_validate({"quantity": 5}).applied_to(terms(disclosedQuantity=2))
    assert changed == terms(quantity=5, disclosedQuantity=2)


def test_a_change_of_type_drops_the_price_that_the_new_type_has_no_use_for() -> None:
    market = OrderChange.model_validate({"orderType": "MARKET"}).applied_to(terms())
    assert (market.price, pointers(market)) == (None, [])
    insisting = OrderChange.model_validate({"orderType": "MARKET", "price": "1"}).applied_to(terms())
    assert pointers(insisting) == ["/price"]


def test_a_change_that_names_nothing_is_no_change() -> None:
    with pytest.raises(ValidationError):
        OrderChange.model_validate({})


def test_null_changes_nothing_where_nothing_can_be_none() -> None:
    change = OrderChange.model_validate({"quantity": None, "orderType": None, "validity": None, "price": "14.00"})
    assert change.applied_to(terms()) == terms(price="14.00")


def test_a_conversion_into_the_same_is_refused() -> None:
    given = {"exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 1,
             "fromProduct": "CNC", "toProduct": "CNC", "positionType": "DAY"}  # fmt: skip
    assert [each.pointer for each in conversion_refusals(Conversion.model_validate(given))] == ["/toProduct"]


def test_only_an_order_with_a_price_has_a_value() -> None:
    assert terms().value == 141
    assert terms(orderType="SL-M", price=None, triggerPrice="14").value is None
    assert terms(orderType="MARKET", price=None).value is None
