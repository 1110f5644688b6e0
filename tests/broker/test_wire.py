"""Every documented answer, read into our own words; all shapes of the same thing give the same output."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker import wire
from app.broker.answers import Row, read_rows
from app.broker.transport import Answer
from app.problems import BrokerFault
from app.trading import Model, OrderStatus

SAMPLES = Path(__file__).parents[1] / "samples"

scalars = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["NaN", "", "1.5", "B", "OPEN"])
)


def rows_of(name: str) -> list[Row]:
    return read_rows(Answer(200, "application/json", (SAMPLES / f"{name}.json").read_bytes()))


def shown(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(model.model_dump_json())
    return found


def test_an_order_of_the_book() -> None:
    assert shown(wire.order(rows_of("orderbook.ok")[0])) == {
        "orderNo": "23111500003987", "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY",
        "quantity": 1, "filledQuantity": 0, "pendingQuantity": 0, "price": "0.00", "triggerPrice": None,
        "averagePrice": None, "product": "MIS", "orderType": "MARKET", "variety": "REGULAR", "validity": "DAY",
        "status": "REJECTED", "statusText": "REJECTED", "rejectionReason": "SAF:order is not open to cancel",
        "exchangeOrderId": None, "placementId": None, "placedAt": "2023-11-15T07:44:55Z",
    }  # fmt: skip


def test_the_book_of_2023_reads_like_the_present_one() -> None:
    order = wire.order(rows_of("orderbook.ok.2023")[0])
    assert (order.order_no, order.status, str(order.price)) == ("23060200003004", OrderStatus.REJECTED, "15.48")
    assert (order.order_type, order.transaction_type) == ("LIMIT", "BUY")


def test_a_row_without_an_order_number_is_kept() -> None:
    assert [wire.order(row).order_no for row in rows_of("orderbook.ok.row_without_orderNo")] == ["23111500003987", None]


@pytest.mark.parametrize(
    ("status", "filled", "pending"),
    [("OPEN", "4", 6), ("TRIGGER_PENDING", "0", 10), ("COMPLETE", "10", 0), ("CANCELED", "4", 0), ("weird", "4", 6),
     ("OPEN", None, None)],
)  # fmt: skip
def test_what_is_pending_follows_from_status_and_fills(status: str, filled: str | None, pending: int | None) -> None:
    order = wire.order({"orderno": "1", "orderstatus": status, "qty": "10", "fillshares": filled})
    assert order.pending_quantity == pending


@pytest.mark.parametrize(
    ("written", "ours"),
    [("PENDING", "ACCEPTED"), ("validation pending", "ACCEPTED"), ("Put Order Req Received", "ACCEPTED"),
     ("AMO received", "ACCEPTED"), ("NewAck", "ACCEPTED"), ("open", "OPEN"), ("TRIGGER_PENDING", "TRIGGER_PENDING"),
     ("trigger pending", "TRIGGER_PENDING"), ("COMPLETE", "COMPLETE"),
     ("COMPLETED", "COMPLETE"), ("EXECUTED", "COMPLETE"),
     ("CANCELED", "CANCELLED"), ("CANCELLED", "CANCELLED"), ("AMO CANCELLED", "CANCELLED"), ("REJECTED", "REJECTED"),
     ("INVALID_STATUS_TYPE", "REJECTED"), ("something new", "UNKNOWN"), ("", "UNKNOWN"), (None, "UNKNOWN")],
)  # fmt: skip
def test_every_status_has_one_of_our_words(written: str | None, ours: str) -> None:
    order = wire.order({"orderno": "1", "orderstatus": written})
    assert order.status == ours
    assert order.status_text == (written or None)


@pytest.mark.parametrize(
    ("field", "written", "attribute", "ours"),
    [("pricetype", "L", "order_type", "LIMIT"), ("pricetype", "LMT", "order_type", "LIMIT"),
     ("pricetype", "MKT", "order_type", "MARKET"), ("pricetype", "SL-LMT", "order_type", "SL"),
     ("pricetype", "SL-MKT", "order_type", "SL-M"), ("pricetype", "SLM", "order_type", "SL-M"),
     ("product", "C", "product", "CNC"), ("product", "I", "product", "MIS"), ("product", "M", "product", "NRML"),
     ("product", "F", "product", "MTF"), ("product", "B", "product", "BO"), ("product", "H", "product", "CO"),
     ("transtype", "S", "transaction_type", "SELL"), ("trantype", "B", "transaction_type", "BUY"),
     ("ordertype", "AMO", "variety", "AMO"), ("ret", "IOC", "validity", "IOC"), ("product", "NEW", "product", "NEW")],
)  # fmt: skip
def test_the_brokers_words_become_ours_and_unknown_ones_stay(
    field: str, written: str, attribute: str, ours: str
) -> None:
    assert getattr(wire.order({"orderno": "1", field: written}), attribute) == ours


def test_a_trade_is_one_fill() -> None:
    assert shown(wire.trade(rows_of("tradebook.ok")[0])) == {
        "tradeId": "79689595", "orderNo": "23061200004704", "exchange": "NSE", "tradingSymbol": "SBIN-EQ",
        "transactionType": "SELL", "product": "MIS", "quantity": 2, "price": "578.40",
        "tradedAt": "2023-06-12T09:45:49Z",
    }  # fmt: skip


def test_a_history_reads_newest_first_in_either_form() -> None:
    states = [wire.order_state(row) for row in rows_of("order_history.ok")]
    assert [(each.status, each.report) for each in states] == [("REJECTED", "Rejected"), ("ACCEPTED", "NewAck")]
    [raw] = [wire.order_state(row) for row in rows_of("order_history.ok.2023_raw_codes")]
    assert (raw.status, raw.quantity, raw.filled_quantity) == (OrderStatus.OPEN, 1, None)


def test_a_holding_is_priced_by_nse() -> None:
    [holding] = wire.holdings(rows_of("holdings.ok"))
    assert shown(holding) == {
        "isin": "INE669E01016", "product": "CNC", "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "token": "14366",
        "quantity": 30, "sellableQuantity": 30, "usedQuantity": 0, "averagePrice": "7.87", "lastPrice": "13.95",
        "previousClose": "13.95", "pnl": "-236.09999",
        "listings": [{"exchange": "NSE", "tradingSymbol": "IDEA-EQ", "token": "14366"},
                     {"exchange": "NFO", "tradingSymbol": "IDEA", "token": "532822"}],
    }  # fmt: skip


def test_nse_comes_before_bse_whatever_the_order() -> None:
    [holding] = wire.holdings(rows_of("holdings.ok.jainam"))
    assert (holding.exchange, holding.token, str(holding.previous_close)) == ("NSE", "11999", "2.8")
    assert holding.product is None


def test_the_holdings_of_2023_read_like_the_present_ones() -> None:
    [holding] = wire.holdings(rows_of("holdings.ok.2023"))
    assert (holding.quantity, holding.sellable_quantity, holding.used_quantity) == (3, 0, 0)
    assert (holding.trading_symbol, str(holding.previous_close), str(holding.last_price)) == (
        "GAYAPROJ-BE",
        "6.15",
        "0",
    )
    assert [each.trading_symbol for each in holding.listings] == ["GAYAPROJ-BE", "GAYAPROJ"]


def test_a_position_without_nan() -> None:
    assert shown(wire.position(rows_of("positions.ok")[0])) == {
        "exchange": "CDS", "tradingSymbol": "JPYINR13JAN23F", "token": "11771", "product": "NRML", "netQuantity": -2,
        "buyQuantity": 0, "sellQuantity": 2, "averagePrice": "63.5675", "buyAveragePrice": "0.0",
        "sellAveragePrice": "63.5675", "lastPrice": "61.6750", "previousClose": "61.67", "realizedPnl": "0.0",
        "unrealizedPnl": "3785.00", "multiplier": 1000, "lotSize": None,
    }  # fmt: skip
    assert wire.position({"token": "1", "averageprice": "NaN", "ltp": ""}).average_price is None


def test_funds_keep_their_sign() -> None:
    assert shown(wire.funds(rows_of("funds.ok"))) == {
        "availableMargin": "0.0", "openingBalance": "-304.0", "marginUsed": "0.0", "payin": "0.0", "payout": "0.0",
        "collateral": "0.0", "holdingSellCredit": "0.0", "brokerage": "0.0", "exposure": "0.0", "span": "0.0",
        "premium": "0.0", "unclearedCash": "304.0",
    }  # fmt: skip


def test_a_profile_in_our_words() -> None:
    profile = wire.profile(rows_of("profile.ok"))
    assert (profile.name, profile.status) == ("A****h", "Activated")
    assert profile.exchanges == ["NSE", "NFO", "CDS", "MCX", "NIPO"]
    assert profile.products == ["CNC", "NRML", "MIS", "CO", "BO"]
    assert profile.depository_accounts == ["<DP_ACCOUNT>"]
    assert wire.profile([{"userid": "a1", "products": ["C", "I"]}]).products == ["CNC", "MIS"]


@pytest.mark.parametrize("rows", [[], [{}], [{"unrelated": "1"}]])
def test_an_ok_that_lacks_what_was_asked_for_is_a_fault(rows: list[Row]) -> None:
    for read in (wire.funds, wire.profile):
        with pytest.raises(BrokerFault):
            read(rows)


def test_a_group_without_holdings_is_a_fault() -> None:
    with pytest.raises(BrokerFault):
        wire.holdings([{"poa": False}])


@given(st.dictionaries(st.sampled_from(
    ["orderno", "qty", "price", "orderstatus", "ordertime", "product", "fillid", "symbol", "netqty", "exdetails"]
), scalars | st.lists(st.dictionaries(st.text(max_size=5), scalars, max_size=3), max_size=3)))  # fmt: skip
def test_no_row_crashes_a_reader(row: dict[str, object]) -> None:
    for read in (wire.order, wire.order_state, wire.trade, wire.position):
        with contextlib.suppress(BrokerFault):
            read(row).model_dump_json()
    with contextlib.suppress(BrokerFault):
        wire.holdings([{"product": "CNC", "holdings": [row]}])


@pytest.mark.parametrize("read", [wire.order, wire.order_state, wire.trade, wire.position])
@pytest.mark.parametrize("row", [{}, {"qty": "1"}, {"orderno": "", "tradingsymbol": None, "fillid": "", "status": ""}])
def test_a_row_that_names_nothing_is_a_fault_and_no_line_of_nothing(read: Callable[[Row], Model], row: Row) -> None:
    with pytest.raises(BrokerFault):
        read(row)


def test_holdings_bear_what_can_not_be_read() -> None:
    assert wire.holdings([{"holdings": None}]) == []
    [holding] = wire.holdings([{"holdings": [{"isin": "INE1", "netQty": "3", "symbol": [None, "IDEA"]}]}])
    assert (holding.isin, holding.quantity, holding.listings, holding.last_price) == ("INE1", 3, [], None)
