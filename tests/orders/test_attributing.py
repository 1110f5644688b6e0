"""Whose order a row of the book might be: what is certainly another's is left out, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.broker.wire import BookRow, book_row
from app.orderbook.attributing import Sought, by_correlation, is_clean, recognised, suspects
from app.orderbook.store import SeenOrder
from app.ordering import OrderTerms

MARK = "PTR6AYWBO5QKQZIVG"
NUMBER = "26112300000001"
BEGUN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
ROW = {
    "orderNo": NUMBER, "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transType": "B", "qty": "10", "price": "14.10",
    "product": "CNC", "priceType": "L", "orderStatus": "OPEN", "orderTime": "09:30:01 23-11-2026", "userId": "AB1234",
}  # fmt: skip
TERMS = OrderTerms.model_validate({
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 10, "product": "CNC",
    "orderType": "LIMIT", "price": "14.10",
})  # fmt: skip
SOUGHT = Sought(TERMS, MARK, BEGUN)


def row(**changed: Any) -> BookRow:
    return book_row({name.lower(): value for name, value in (ROW | changed).items()}, "remarks")


def seen(**changed: Any) -> dict[str, SeenOrder]:
    facts: dict[str, Any] = {
        "order_no": NUMBER, "intent_id": None, "exchange": None, "quantity": 10,
        "status": None, "rejection_reason": None,
        "correlation": None, "history_read_at": None, "first_seen_at": BEGUN + timedelta(seconds=3),
        "trading_day": BEGUN.date(), "shown": None,
    }  # fmt: skip
    return {NUMBER: SeenOrder(**facts | changed)}


@pytest.mark.parametrize(
    "changed",
    [{}, {"tradingSymbol": "idea-eq"}, {"tradingSymbol": "IDEA EQ"},
     {"tradingSymbol": "IDEA"}, {"exchange": "NSE_CM"}, {"tradingSymbol": None, "formattedInsName": "x"},
     {"exchange": "nse"}, {"exchange": None}, {"transType": None}, {"transType": "KAUF"}, {"qty": None}, {"qty": "4"},
     {"orderTime": "04:00:01 23-11-2026"}, {"orderTime": "00:00:00 22-11-2026"}, {"orderTime": "?"},
     {"product": "C"}, {"price": "0"}, {"remarks": "-"}, {"remarks": MARK[:5]}, {"remarks": "somebody's own"}],
)  # fmt: skip
def test_a_row_that_may_be_ours_is_a_suspect_whatever_else_it_says(changed: dict[str, Any]) -> None:
    for known in (seen(), {}, seen(history_read_at=BEGUN), seen(history_read_at=BEGUN, correlation=MARK[:6])):
        assert suspects([row(**changed)], known, SOUGHT) == [NUMBER]


@pytest.mark.parametrize(
    ("changed", "known"),
    [({"tradingSymbol": "SBIN-EQ"}, seen()), ({"exchange": "BSE"}, seen()), ({"transType": "S"}, seen()),
     ({"qty": "11"}, seen()), ({}, seen(intent_id=uuid4())), ({}, seen(first_seen_at=BEGUN - timedelta(seconds=1))),
     ({}, seen(history_read_at=BEGUN, correlation="web-4711")), ({"orderNo": None}, {}),
     ({"remarks": "-"}, seen(intent_id=uuid4()))],
)  # fmt: skip
def test_what_is_certainly_another_order_is_no_suspect(changed: dict[str, Any], known: dict[str, SeenOrder]) -> None:
    assert suspects([row(**changed)], known, SOUGHT) == []


@pytest.mark.parametrize("mark", ["NA", "none", "-", "RMS: adjusted"])
def test_what_stands_for_no_mark_or_stands_in_the_book_alone_excludes_nobody(mark: str) -> None:
    known = seen(history_read_at=BEGUN, correlation=mark)
    assert suspects([row(remarks=mark)], known, SOUGHT) == [NUMBER]


def test_a_book_with_a_row_that_names_no_order_is_not_clean() -> None:
    assert is_clean([row()])
    assert is_clean([])
    assert not is_clean([row(), row(orderNo=None)])


@pytest.mark.parametrize("echo", [MARK, MARK.lower(), MARK[:12], f" {MARK} ", f"API:{MARK}", f"{MARK}/1"])
def test_our_mark_is_recognised_in_another_case_or_cut_short(echo: str) -> None:
    ours = uuid4()
    assert by_correlation([row(remarks=echo)], {}, {MARK: ours, "PAAAAAAAAAAAAAAAA": uuid4()}) == {NUMBER: ours}
    assert by_correlation([row()], seen(correlation=echo.strip()), {MARK: ours}) == {NUMBER: ours}


@pytest.mark.parametrize("echo", [None, "", "P", MARK[:11], MARK[1:], "-", "API:" + MARK[:8]])
def test_anything_less_is_no_proof(echo: str | None) -> None:
    assert recognised(echo, {MARK: uuid4()}) is None


def test_a_mark_that_two_placements_could_have_is_nobodys() -> None:
    marks: dict[str, UUID] = {MARK: uuid4(), MARK[:-1] + "A": uuid4()}
    assert recognised(MARK[:-1], marks) is None
    assert recognised(MARK, marks) == marks[MARK]


def test_the_mark_of_the_book_and_that_of_the_history_both_count() -> None:
    ours = uuid4()
    assert by_correlation([row(remarks="-")], seen(correlation=MARK), {MARK: ours}) == {NUMBER: ours}
