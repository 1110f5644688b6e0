"""What counts as a change of an order, between two rows of the broker's book as they come."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker.wire import BookRow, book_row
from app.orderbook.changes import Change, Shown, changes_of, differs, is_over
from app.orderbook.events import EventType
from app.orderbook.store import SeenOrder
from app.trading import OrderStatus

DAY, NEXT_DAY = date(2026, 11, 24), date(2026, 11, 25)
NUMBER = "26112400000001"

Written = dict[str, str | None]
Table = list[tuple[str, Written, Written, list[tuple[str, set[str]]]]]

BASE: Written = {
    "orderNo": NUMBER, "userId": "AB1234", "actId": "AB1234", "exchange": "NSE", "tradingSymbol": "IDEA-EQ",
    "qty": "10", "transType": "B", "ret": "DAY", "price": "14.10", "avgTradePrice": None, "disclosedQty": "0",
    "product": "CNC", "priceType": "L", "orderType": "Regular", "orderStatus": "OPEN", "fillShares": "0",
    "exchUpdateTime": "24-11-2026 10:00:05", "exchOrderId": "1100000000000001", "formattedInsName": "IDEA-EQ",
    "ltp": "14.00", "rejectedReason": None, "triggerPrice": None, "orderTime": "10:00:00 24-11-2026",
}  # fmt: skip
PENDING: Written = {"orderStatus": "PENDING", "exchOrderId": None, "exchUpdateTime": None}
TRIGGER: Written = {"orderStatus": "TRIGGER_PENDING", "priceType": "SL", "triggerPrice": "14.00"}
FOUR: Written = {"fillShares": "4", "avgTradePrice": "14.05"}
SEVEN: Written = {"fillShares": "7", "avgTradePrice": "14.06"}
WHOLE: Written = {"orderStatus": "COMPLETE", "fillShares": "10", "avgTradePrice": "14.07"}
CANCELED: Written = {"orderStatus": "CANCELED"}
REJECTED: Written = {"orderStatus": "REJECTED", "rejectedReason": "RED:Margin Shortfall:INR 3.69"}
EXPIRED: Written = {"orderStatus": "EXPIRED"}

_STATUS = {"status", "statusText"}
_FILL = {"filledQuantity", "pendingQuantity", "averagePrice"}
_END = _STATUS | {"pendingQuantity"}


def row(**changed: str | None) -> BookRow:
    """Return the base row as the gateway hands it on, changed by what the broker may write."""
    return book_row({name.lower(): value for name, value in (BASE | changed).items()}, "remarks")


def remembered(shown: BookRow, /, day: date = DAY, **changed: Any) -> dict[str, SeenOrder]:
    """Return what is known once a row has been written down."""
    order = shown.order
    number = order.order_no or ""
    seen = SeenOrder(
        order_no=number, intent_id=None, exchange=order.exchange, quantity=order.quantity, status=order.status,
        rejection_reason=order.rejection_reason, correlation=None, history_read_at=None,
        first_seen_at=datetime(2026, 11, 24, 4, 30, tzinfo=UTC), trading_day=day, shown=shown.shown,
    )  # fmt: skip
    return {number: replace(seen, **changed)}


def told(changes: list[Change]) -> list[tuple[str, set[str]]]:
    return [(str(each.type), {change["field"] for change in each.changes}) for each in changes]


CHANGES: Table = [
    ("accepted, then open", PENDING, {}, [("OPEN", {*_STATUS, "exchangeOrderId"})]),
    ("accepted in other words", PENDING, PENDING | {"orderStatus": "validation pending"}, []),
    ("accepted, and partly filled at once", PENDING, FOUR, [("PARTLY_FILLED", {*_STATUS, *_FILL, "exchangeOrderId"})]),
    ("accepted, and filled at once", PENDING, WHOLE, [("FILLED", {*_STATUS, *_FILL, "exchangeOrderId"})]),
    ("partly filled", {}, FOUR, [("PARTLY_FILLED", _FILL)]),
    ("filled more", FOUR, SEVEN, [("PARTLY_FILLED", _FILL)]),
    ("filled more at the same price", FOUR, SEVEN | {"avgTradePrice": "14.050"},
     [("PARTLY_FILLED", _FILL - {"averagePrice"})]),
    ("filled", {}, WHOLE, [("FILLED", _STATUS | _FILL)]),
    ("the rest filled", SEVEN, WHOLE, [("FILLED", _STATUS | _FILL)]),
    ("triggered", TRIGGER, TRIGGER | {"orderStatus": "OPEN"}, [("OPEN", _STATUS)]),
    ("triggered, and a limit order from now on", TRIGGER, {}, [("OPEN", _STATUS | {"orderType", "triggerPrice"})]),
    ("triggered and filled", TRIGGER, TRIGGER | WHOLE, [("FILLED", _STATUS | _FILL)]),
    ("triggered and partly filled", TRIGGER, TRIGGER | FOUR | {"orderStatus": "OPEN"},
     [("PARTLY_FILLED", _STATUS | _FILL)]),
    ("accepted, then waiting for its trigger", TRIGGER | PENDING, TRIGGER,
     [("TRIGGER_PENDING", {*_STATUS, "exchangeOrderId"})]),
    ("another trigger", TRIGGER, TRIGGER | {"triggerPrice": "13.95"}, [("MODIFIED", {"triggerPrice"})]),
    ("another price", {}, {"price": "14.05"}, [("MODIFIED", {"price"})]),
    ("another type", {}, {"priceType": "MKT", "price": "0.00"}, [("MODIFIED", {"orderType", "price"})]),
    ("another validity", {}, {"ret": "IOC"}, [("MODIFIED", {"validity"})]),
    ("another product", {}, {"product": "MIS"}, [("MODIFIED", {"product"})]),
    ("a price where there was none", {"price": None}, {"price": "14.10"}, [("MODIFIED", {"price"})]),
    ("modified and filled", {}, FOUR | {"price": "14.15"}, [("MODIFIED", {"price"}), ("PARTLY_FILLED", _FILL)]),
    ("modified and filled whole", {}, WHOLE | {"price": "14.15"},
     [("MODIFIED", {"price"}), ("FILLED", _STATUS | _FILL)]),
    ("modified and cancelled", {}, CANCELED | {"price": "14.15"}, [("MODIFIED", {"price"}), ("CANCELLED", _END)]),
    ("partly filled and cancelled", {}, FOUR | CANCELED, [("PARTLY_FILLED", _FILL), ("CANCELLED", _STATUS)]),
    ("modified, partly filled and cancelled", {}, FOUR | CANCELED | {"price": "14.15"},
     [("MODIFIED", {"price"}), ("PARTLY_FILLED", _FILL), ("CANCELLED", _STATUS)]),
    ("the rest cancelled", FOUR, FOUR | CANCELED, [("CANCELLED", _END)]),
    ("rejected, with its reason", PENDING, PENDING | REJECTED, [("REJECTED", {*_END, "rejectionReason"})]),
    ("expired, in a word of the broker's", {}, EXPIRED, [("EXPIRED", _STATUS)]),
    ("partly filled and expired", {}, FOUR | EXPIRED, [("PARTLY_FILLED", _FILL), ("EXPIRED", _STATUS)]),
    ("a word that nobody knows", {}, {"orderStatus": "FROZEN"}, [("UNKNOWN", _STATUS)]),
    ("another such word", {"orderStatus": "FROZEN"}, {"orderStatus": "THAWING"}, [("UNKNOWN", {"statusText"})]),
    ("the same word again", {"orderStatus": "FROZEN"}, {"orderStatus": "FROZEN"}, []),
    ("open again after such a word", {"orderStatus": "FROZEN"}, {}, [("OPEN", _STATUS)]),
    ("an unknown word, and a fill with it", {}, FOUR | {"orderStatus": "FROZEN"}, [("PARTLY_FILLED", _STATUS | _FILL)]),
    ("money in other digits", FOUR, FOUR | {"price": "14.1", "avgTradePrice": "14.0500"}, []),
    ("no money as nothing and as zero", {"triggerPrice": None, "avgTradePrice": None},
     {"triggerPrice": "0.00", "avgTradePrice": "0"}, []),
    ("words in another dialect", {}, {"priceType": "LMT", "product": "C", "transType": "BUY", "orderStatus": "open"},
     []),
    ("what is not the order's", {}, {"ltp": "15.00", "exchUpdateTime": "24-11-2026 10:00:09", "disclosedQty": "1"}, []),
    ("the exchange's number, late", {"exchOrderId": None}, {}, []),
    ("fewer fills than before", SEVEN, FOUR, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "now", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_what_has_happened_between_two_rows(
    before: Written, now: Written, expected: list[tuple[str, set[str]]]
) -> None:
    found = changes_of([row(**now)], remembered(row(**before)), DAY)
    assert told(found) == expected
    assert [each.shown for each in found] == [row(**now).shown] * len(expected)
    assert {each.order_no for each in found} <= {NUMBER}


@pytest.mark.parametrize(
    ("before", "now", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_each_changed_field_says_what_it_was_and_is(
    before: Written, now: Written, expected: list[tuple[str, set[str]]]
) -> None:
    was, has_become = row(**before).shown, row(**now).shown
    changes = [change for each in changes_of([row(**now)], remembered(row(**before)), DAY) for change in each.changes]
    assert changes == [{"field": each["field"], "before": was[each["field"]], "now": has_become[each["field"]]}
                       for each in changes]  # fmt: skip
    assert len({each["field"] for each in changes}) == len(changes), "each field once"


def test_a_new_quantity_changes_what_is_pending_too() -> None:
    """Whoever follows the changes alone has to know how much may still be filled."""
    [change] = changes_of([row(**FOUR, qty="20")], remembered(row(**FOUR)), DAY)
    assert told([change]) == [("MODIFIED", {"quantity", "pendingQuantity"})]


def test_reduced_to_what_is_filled_is_modified_and_filled() -> None:
    now = row(**FOUR | {"qty": "4", "orderStatus": "COMPLETE"})
    assert [each.type for each in changes_of([now], remembered(row(**FOUR)), DAY)] == ["MODIFIED", "FILLED"]


def test_modified_and_cancelled_while_it_waits_for_its_trigger_are_two() -> None:
    now = row(**TRIGGER | CANCELED | {"price": "14.20"})
    found = told(changes_of([now], remembered(row(**TRIGGER)), DAY))
    assert found == [("MODIFIED", {"price"}), ("CANCELLED", _END)]


def test_a_quantity_that_was_modified_before_it_triggered_is_told_as_modified() -> None:
    """No trigger changes a quantity."""
    now = row(**TRIGGER | {"orderStatus": "OPEN", "qty": "20"})
    found = changes_of([now], remembered(row(**TRIGGER)), DAY)
    assert [each.type for each in found] == [EventType.MODIFIED, EventType.OPEN]


@pytest.mark.parametrize("end", [WHOLE, CANCELED, REJECTED], ids=["filled", "cancelled", "rejected"])
@pytest.mark.parametrize("later", [{}, WHOLE, CANCELED, REJECTED, EXPIRED, FOUR, {"price": "13.00"}])
def test_what_is_final_stays_as_it_is(end: Written, later: Written) -> None:
    assert changes_of([row(**later)], remembered(row(**end)), DAY) == []


@pytest.mark.parametrize("later", [CANCELED, REJECTED, {}, FOUR, {"price": "13.00"}])
def test_what_has_expired_by_the_brokers_word_stays_expired(later: Written) -> None:
    """Its end has been told; a second end, or life after it, would be told to nobody's use."""
    assert told(changes_of([row(**later)], remembered(row(**EXPIRED)), DAY)) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (PENDING, "ACCEPTED"), ({}, "OPEN"), (TRIGGER, "TRIGGER_PENDING"), (FOUR, "PARTLY_FILLED"), (WHOLE, "FILLED"),
        (CANCELED, "CANCELLED"), (FOUR | CANCELED, "CANCELLED"), (REJECTED, "REJECTED"), (EXPIRED, "EXPIRED"),
        ({"orderStatus": "FROZEN"}, "UNKNOWN"), ({"orderStatus": None}, "UNKNOWN"),
        ({"orderStatus": "AMO received", "orderType": "AMO"}, "ACCEPTED"), ({"orderStatus": "DAY EXPIRED"}, "EXPIRED"),
    ],
)  # fmt: skip
def test_what_is_seen_for_the_first_time_is_one_event_without_changes(now: Written, expected: str) -> None:
    [change] = changes_of([row(**now)], {}, DAY)
    assert told([change]) == [(expected, set())]
    named = remembered(row(**now), status=None, shown=None)  # its placement has named it, and no book has shown it yet
    assert changes_of([row(**now)], named, DAY) == [change]


def test_when_it_happened_is_told_as_far_as_the_broker_says() -> None:
    [first] = changes_of([row(exchUpdateTime=None)], {}, DAY)
    [later] = changes_of([row(**FOUR)], remembered(row()), DAY)
    [unsaid] = changes_of([row(**FOUR, exchUpdateTime=None)], remembered(row()), DAY)
    assert first.broker_at == datetime(2026, 11, 24, 4, 30, tzinfo=UTC)
    assert later.broker_at == datetime(2026, 11, 24, 4, 30, 5, tzinfo=UTC)
    assert unsaid.broker_at is None


@pytest.mark.parametrize("final", [WHOLE, CANCELED], ids=["filled", "cancelled"])
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_rows_about_one_order_the_open_one_counts(final: Written, turned: bool) -> None:
    rows = [row(), row(**final)]
    book = rows[::-1] if turned else rows
    assert told(changes_of(book, {}, DAY)) == [("OPEN", set())]
    assert changes_of(book, remembered(row()), DAY) == []


def test_a_row_that_stands_there_twice_is_one_order() -> None:
    assert len(changes_of([row(), row()], {}, DAY)) == 1
    assert told(changes_of([row(**FOUR), row(**FOUR)], remembered(row()), DAY)) == [("PARTLY_FILLED", _FILL)]


def test_a_row_without_a_number_is_nobodys() -> None:
    assert changes_of([row(orderNo=None), row(orderNo=" ")], {}, DAY) == []
    assert [each.order_no for each in changes_of([row(orderNo=None), row()], {}, DAY)] == [NUMBER]


def test_orders_are_told_by_their_numbers() -> None:
    numbers = [f"261124000000{each:02d}" for each in range(20)]
    book = [row(orderNo=each) for each in numbers]
    random.Random(6).shuffle(book)  # noqa: S311  # no secret
    assert [each.order_no for each in changes_of(book, {}, DAY)] == numbers


@pytest.mark.parametrize("status", [OrderStatus.OPEN, OrderStatus.COMPLETE])
@pytest.mark.parametrize(("now", "expected"), [({}, "OPEN"), (FOUR, "PARTLY_FILLED"), (WHOLE, "FILLED")])
def test_what_no_event_has_told_is_told_whoever_saw_it_before(status: OrderStatus, now: Written, expected: str) -> None:
    """An older release, side by side with this one, writes down what it has seen and tells nobody."""
    known = remembered(row(), status=status, shown=None)
    assert told(changes_of([row(**now)], known, DAY)) == [(expected, set())]


@pytest.mark.parametrize(
    "blank", ["qty", "price", "fillShares", "avgTradePrice", "ret", "product", "priceType", "orderStatus"]
)
def test_what_a_row_leaves_blank_it_does_not_say(blank: str) -> None:
    known = remembered(row(**FOUR))
    assert changes_of([row(**FOUR | {blank: ""})], known, DAY) == []
    filled = changes_of([row(**WHOLE | {"ret": "", "price": ""})], known, DAY)
    assert [each.type for each in filled] == [EventType.FILLED]
    assert (filled[0].shown["validity"], filled[0].shown["price"]) == ("DAY", row().shown["price"])


def test_a_trigger_goes_with_the_kind_of_order_that_has_one() -> None:
    [modified] = changes_of(
        [row(priceType="L", triggerPrice=None)], remembered(row(priceType="SL", triggerPrice="14")), DAY
    )
    assert modified.type is EventType.MODIFIED
    assert {each["field"]: each["now"] for each in modified.changes} == {"orderType": "LIMIT", "triggerPrice": None}


def test_no_fill_goes_back_though_a_book_flaps() -> None:
    assert changes_of([row()], remembered(row(**FOUR)), DAY) == []


@pytest.mark.parametrize("name", ["exchangeOrderId", "rejectionReason", "averagePrice"])
def test_an_order_written_down_before_a_field_was_shown_is_told_all_the_same(name: str) -> None:
    """The next version shows one field more; what this one has stored lacks it, and its orders are still open."""
    known = remembered(row(**PENDING))
    stored = {key: value for key, value in row(**PENDING).shown.items() if key != name}
    changes = changes_of([row(**REJECTED | FOUR)], {NUMBER: replace(known[NUMBER], shown=stored)}, DAY)
    assert [each.type for each in changes] == [EventType.PARTLY_FILLED, EventType.REJECTED]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, True), ({"ret": "IOC"}, True), (FOUR, True), (TRIGGER, True), (PENDING, True),
        ({"orderStatus": "FROZEN"}, True), ({"orderType": "AMO", "orderStatus": "AMO received"}, False),
        ({"ret": "GTC"}, False), ({"ret": "GTT"}, False), ({"ret": None}, False), ({"orderType": "BO"}, False),
        (WHOLE, False), (CANCELED, False), (REJECTED, False), (EXPIRED, False),
    ],
)  # fmt: skip
def test_of_what_was_good_for_its_day_and_is_in_no_later_book_nobody_knows_the_end(
    before: Written, expected: bool
) -> None:
    """It may have been filled after the last look: nobody says that it was not."""
    known = remembered(row(**before))
    found = changes_of([row(orderNo="26112500000001")], known, NEXT_DAY)
    ended = [each for each in found if each.order_no == NUMBER]
    assert [each.type for each in ended] == [EventType.UNKNOWN] * expected
    if ended:
        assert {each["field"] for each in ended[0].changes} <= {"status", "statusText", "pendingQuantity"}
        assert (ended[0].shown["status"], ended[0].shown["pendingQuantity"]) == ("UNKNOWN", None)
        assert ended[0].shown["filledQuantity"] == known[NUMBER].shown["filledQuantity"]  # type: ignore[index]  # is one


@pytest.mark.parametrize(("days", "is_over"), [(6, False), (7, True)])
def test_what_is_good_for_longer_is_given_the_longest_weekend(days: int, is_over: bool) -> None:
    known = remembered(row(orderType="AMO", orderStatus="AMO received"))
    assert len(changes_of([], known, DAY + timedelta(days=days))) == is_over


def test_what_a_book_of_the_same_day_lacks_has_not_ended() -> None:
    assert changes_of([], remembered(row()), DAY) == []


def test_what_a_later_book_still_shows_has_not_expired() -> None:
    assert changes_of([row()], remembered(row()), NEXT_DAY) == []
    assert told(changes_of([row(**FOUR)], remembered(row()), NEXT_DAY)) == [("PARTLY_FILLED", _FILL)]


def test_what_was_seen_before_events_were_written_does_not_expire_unshown() -> None:
    assert changes_of([], remembered(row(), shown=None), NEXT_DAY) == []


# --- any life of an order ---------------------------------------------------------------------------------------------

_MONEY = ("price", "triggerPrice", "averagePrice")
_REPLAYED = (
    "quantity", "price", "triggerPrice", "product", "orderType", "validity", "filledQuantity", "pendingQuantity",
    "averagePrice", "status", "rejectionReason",
)  # fmt: skip
_ENDS = {EventType.FILLED, EventType.CANCELLED, EventType.REJECTED, EventType.EXPIRED}
_STEPS = ("accept", "price", "trigger", "quantity", "product", "fill", "rewrite", "complete", "cancel", "reject",
          "expire")  # fmt: skip
_WAITING = {"PENDING", "OPEN", "TRIGGER_PENDING"}

lives = st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(1, 6), st.booleans()), min_size=1, max_size=20)
beginnings = st.sampled_from([PENDING, {}, TRIGGER | PENDING, TRIGGER])


def _open_to(now: Written) -> Written:
    waits = now["triggerPrice"] is not None and now["fillShares"] == "0" and now["orderStatus"] != "OPEN"
    return {"orderStatus": "TRIGGER_PENDING" if waits else "OPEN", "exchOrderId": "1100000000000001"}


def _filled(now: Written, units: int) -> Written:
    filled = min(int(now["fillShares"] or 0) + units, int(now["qty"] or 0))
    status = "COMPLETE" if filled == int(now["qty"] or 0) else "OPEN"
    return {"fillShares": str(filled), "avgTradePrice": f"14.{filled:02d}", "orderStatus": status}


def _rewritten(now: Written) -> Written:
    return {name: f"{Decimal(now[name] or 0):.4f}" for name in ("price", "triggerPrice", "avgTradePrice")}


def step(now: Written, kind: str, units: int) -> Written:
    """Return a row after one thing that can really happen to its order; what is final stays."""
    if now["orderStatus"] not in _WAITING:
        return now
    triggered: Written = {"triggerPrice": f"13.{units:02d}"} if now["priceType"] == "SL" else {}
    found: dict[str, Written] = {
        "accept": _open_to(now), "price": {"price": f"14.{units:02d}"}, "trigger": triggered,
        "quantity": {"qty": str(int(now["fillShares"] or 0) + units)}, "product": {"product": "MIS"},
        "fill": _filled(now, units), "rewrite": _rewritten(now), "complete": _filled(now, 1000),
        "cancel": CANCELED, "reject": REJECTED, "expire": EXPIRED,
    }  # fmt: skip
    return now | found[kind]


def seen_again(known: Mapping[str, SeenOrder], now: BookRow) -> dict[str, SeenOrder]:
    """Return what is known after a sight, as it is written down: what is final stays."""
    before = known[NUMBER]
    return dict(known) if before.is_final or not differs(before.shown, now.shown) else remembered(now)


def replayed(first: Shown, changes: list[Change]) -> dict[str, Any]:
    """Return the order that somebody knows who was shown it once and follows the changes."""
    order = dict(first)
    for change in changes:
        for each in change.changes:
            order[each["field"]] = each["now"]
    return order


def terms_of(shown: Shown) -> dict[str, Any]:
    return {name: Decimal(shown[name] or 0) if name in _MONEY else shown[name] for name in _REPLAYED}


@given(beginning=beginnings, life=lives)
def test_whoever_follows_the_changes_knows_the_order_as_it_stands(
    beginning: Written, life: list[tuple[str, int, bool]]
) -> None:
    now = BASE | beginning
    [first] = changes_of([row(**now)], {}, DAY)
    known, changes = remembered(row(**now)), [first]
    for kind, units, is_seen in [*life, ("rewrite", 1, True)]:
        now = step(now, kind, units)
        if is_seen:
            changes += changes_of([row(**now)], known, DAY)
            known = seen_again(known, row(**now))
            assert changes_of([row(**now)], known, DAY) == [], "the same state again is no news"
    assert terms_of(replayed(first.shown, changes)) == terms_of(row(**now).shown)


@given(beginning=beginnings, life=lives)
def test_an_order_ends_once_and_nothing_comes_behind_it(beginning: Written, life: list[tuple[str, int, bool]]) -> None:
    now = BASE | beginning
    known, types = remembered(row(**now)), [each.type for each in changes_of([row(**now)], {}, DAY)]
    for kind, units, is_seen in [*life, ("rewrite", 1, True)]:
        now = step(now, kind, units)
        if is_seen:
            types += [each.type for each in changes_of([row(**now)], known, DAY)]
            known = seen_again(known, row(**now))
    has_ended = is_over(row(**now).shown)
    assert sum(each in _ENDS for each in types) == has_ended
    assert (types[-1] in _ENDS) == has_ended


@given(beginning=beginnings, life=lives)
def test_each_new_term_and_each_new_fill_is_told_once(beginning: Written, life: list[tuple[str, int, bool]]) -> None:
    now = BASE | beginning
    known = remembered(row(**now))
    for kind, units, is_seen in life:
        now = step(now, kind, units)
        if is_seen:
            before, order = known[NUMBER].shown or {}, row(**now).shown
            found = [each.type for each in changes_of([row(**now)], known, DAY)]
            has_filled = order["filledQuantity"] > before["filledQuantity"]
            assert (EventType.PARTLY_FILLED in found or found[-1:] == [EventType.FILLED]) >= has_filled
            assert (EventType.PARTLY_FILLED in found) <= has_filled
            assert len(set(found)) == len(found)
            known = seen_again(known, row(**now))
