"""What book and positions prove about an unknown modification, cancel or conversion."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest

from app.broker.wire import BookRow, book_row
from app.orders.following import conversion_outcome, order_outcome
from app.orders.intents import BEFORE, Action, Intent
from app.trading import Outcome, Position

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
NUMBER = "26112300000001"
BEFORE_IT = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 10, "product": "CNC",
    "orderType": "LIMIT", "price": "14.10", "triggerPrice": None, "validity": "DAY", "variety": "REGULAR",
    "disclosedQuantity": None,
}  # fmt: skip


def intent(action: Action, terms: dict[str, Any]) -> Intent:
    return Intent(
        id=uuid4(), user_id="AB1234", action=action, fingerprint=None, terms=terms, order_no=NUMBER, correlation=None,
        trading_day=date(2026, 11, 23), created_at=NOW, doubtful_at=NOW, state="unknown", reason=None,
        resolved_at=None, is_watched=True, candidates=[], absent_since=None, cancel_wanted_at=None, now=NOW,
    )  # fmt: skip


def modification(**changed: Any) -> Intent:
    return intent(Action.MODIFY, BEFORE_IT | changed | {BEFORE: BEFORE_IT})


def row(**changed: Any) -> BookRow:
    shown = {
        "orderno": NUMBER, "exchange": "NSE", "tradingsymbol": "IDEA-EQ", "transtype": "B", "qty": "10",
        "price": "14.10", "pricetype": "L", "ret": "DAY", "orderstatus": "OPEN", "disclosedqty": "0",
    }  # fmt: skip
    return book_row(shown | changed, "remarks")


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [({"quantity": 5}, {"qty": "5"}), ({"price": "14.00"}, {"price": "14"}), ({"validity": "IOC"}, {"ret": "IOC"}),
     ({"disclosedQuantity": 5}, {"disclosedqty": "5"}),
     ({"orderType": "MARKET", "price": None}, {"pricetype": "MKT", "price": "0"}),
     ({"orderType": "SL", "triggerPrice": "14.05"}, {"pricetype": "SL", "triggerprice": "14.05"})],
)  # fmt: skip
def test_a_modification_was_done_where_what_was_to_change_has_changed(
    wanted: dict[str, Any], shown: dict[str, str]
) -> None:
    assert order_outcome(modification(**wanted), [row(**shown)]) == (Outcome.ACCEPTED, None)
    assert order_outcome(modification(**wanted), [row()]) is None
    assert order_outcome(modification(**wanted), [row(orderstatus="COMPLETE")]) == (
        Outcome.REFUSED, "The order is COMPLETE.",
    )  # fmt: skip


def test_a_modification_that_was_to_change_nothing_proves_nothing() -> None:
    assert order_outcome(modification(), [row()]) is None
    assert order_outcome(modification(), [row(orderstatus="COMPLETE")]) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [("CANCELED", (Outcome.ACCEPTED, None)), ("COMPLETE", (Outcome.REFUSED, "The order is COMPLETE already.")),
     ("OPEN", None), ("a new word", None)],
)  # fmt: skip
def test_a_cancel_is_what_the_book_says(status: str, expected: object) -> None:
    assert order_outcome(intent(Action.CANCEL, {}), [row(orderstatus=status)]) == expected
    assert order_outcome(intent(Action.CANCEL, {}), []) is None


def position(product: str, quantity: int) -> Position:
    nothing = dict.fromkeys(Position.model_fields)
    known = {"exchange": "NSE", "trading_symbol": "IDEA-EQ", "product": product, "net_quantity": quantity}
    return Position(**nothing | known)


@pytest.mark.parametrize(
    ("side", "before", "after", "is_done"),
    [("BUY", [20, 0], [15, 5], True), ("BUY", [20, 0], [20, 0], False), ("BUY", [20, 0], [14, 6], False),
     ("SELL", [-20, 0], [-15, -5], True), ("SELL", [-20, 0], [-25, 5], False), ("BUY", [5, 0], [0, 5], True)],
)  # fmt: skip
def test_a_conversion_was_done_where_exactly_its_quantity_has_moved(
    side: str, before: list[int], after: list[int], is_done: bool
) -> None:
    asked = {"exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": side, "quantity": 5,
             "fromProduct": "MIS", "toProduct": "CNC", "positionType": "DAY"}  # fmt: skip
    held = [position("MIS", after[0]), position("CNC", after[1])]
    expected = (Outcome.ACCEPTED, None) if is_done else None
    assert conversion_outcome(intent(Action.CONVERT, asked | {BEFORE: before}), held) == expected
    assert conversion_outcome(intent(Action.CONVERT, asked | {BEFORE: None}), held) is None
