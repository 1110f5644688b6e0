"""What the broker calls each field of its answers, and what we make of it (docs/broker.md "Fields")."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from app.broker import words
from app.broker.answers import Row, lowered
from app.broker.values import decimal, familiar, moment, text, whole
from app.problems import BrokerFault
from app.trading import Funds, Holding, Listing, Order, OrderState, OrderStatus, Position, Profile, Trade

_LACKING = "The broker's answer lacks what was asked for."


@dataclass(frozen=True)
class BookRow:
    """One row of the order book: the order as we show it, and what of it is for us alone."""

    order: Order
    correlation: str | None
    disclosed_quantity: int | None
    owners: frozenset[str] = frozenset()
    """Whose order the broker says it is, in capitals: user and account, which a dealer's orders tell apart."""
    changed_at: datetime | None = None
    """When the exchange last did something with it, in UTC; none where the broker does not say."""

    @cached_property
    def shown(self) -> dict[str, Any]:
        """The order as JSON, as `GET /v1/orders` shows it, without its placement."""
        return self.order.model_dump(mode="json", exclude={"placement_id"})


def book_row(row: Row, correlation_field: str) -> BookRow:
    """Read one row of the order book; `correlation_field` is where the broker may echo what an order was given."""
    owners = (familiar(row.get(name)) for name in ("userid", "actid"))
    return BookRow(
        order=order(row),
        correlation=_correlation(row, correlation_field),
        disclosed_quantity=whole(row.get("disclosedqty")),
        owners=frozenset(owner.upper() for owner in owners if owner),
        changed_at=moment(row.get("exchupdatetime")),
    )


def echoed(rows: list[Row], order_no: str, correlation_field: str) -> str | None:
    """Return the correlation in the history of an order, none where no row of it has one."""
    own = (row for row in rows if familiar(row.get("orderno")) == order_no)
    return next((found for row in own if (found := _correlation(row, correlation_field))), None)


def order(row: Row) -> Order:
    """Read one row of the order book; a row without an order number was met and is kept."""
    _must_name(row, "orderno", "tradingsymbol", "formattedinsname")
    quantity, filled = whole(row.get("qty")), whole(row.get("fillshares"))
    status = words.order_status(row.get("orderstatus"))
    return Order(
        order_no=familiar(row.get("orderno")),
        exchange=familiar(row.get("exchange")),
        trading_symbol=familiar(row.get("tradingsymbol")),
        transaction_type=words.transaction_type(row.get("transtype") or row.get("trantype")),
        quantity=quantity,
        filled_quantity=filled,
        pending_quantity=_pending(status, quantity, filled),
        price=decimal(row.get("price")),
        trigger_price=decimal(row.get("triggerprice")),
        average_price=decimal(row.get("avgtradeprice")),
        product=words.product(row.get("product")),
        order_type=words.order_type(row.get("pricetype")),
        variety=words.variety(row.get("ordertype")),
        validity=words.validity(row.get("ret")),
        status=status,
        status_text=familiar(row.get("orderstatus")),
        rejection_reason=familiar(row.get("rejectedreason")),
        exchange_order_id=familiar(row.get("exchorderid")),
        placement_id=None,
        placed_at=moment(row.get("ordertime")),
    )


def order_state(row: Row) -> OrderState:
    """Read one row of an order's history."""
    _must_name(row, "status", "report")
    return OrderState(
        status=words.order_status(row.get("status")),
        status_text=text(row.get("status")),
        report=text(row.get("report")),
        quantity=whole(row.get("quantity") or row.get("qty")),
        filled_quantity=whole(row.get("fillshares")),
        price=decimal(row.get("price")),
        average_price=decimal(row.get("avgprice")),
        exchange_order_id=text(row.get("exchorderno")),
        at=moment(row.get("time")),
    )


def trade(row: Row) -> Trade:
    """Read one row of the trade book: `fillqty` is this fill, `fillshares` all fills so far."""
    _must_name(row, "fillid", "orderno")
    return Trade(
        trade_id=familiar(row.get("fillid")),
        order_no=familiar(row.get("orderno")),
        exchange=familiar(row.get("exchange")),
        trading_symbol=familiar(row.get("tradingsymbol")),
        transaction_type=words.transaction_type(row.get("transtype") or row.get("trantype")),
        product=words.product(row.get("product")),
        quantity=whole(row.get("fillqty")),
        price=decimal(row.get("fillprc")),
        traded_at=moment(row.get("filltime")),
    )


def holdings(rows: list[Row]) -> list[Holding]:
    """Read all groups of holdings, in either of the two documented shapes, into one list."""
    found: list[Holding] = []
    for group in rows:
        product = words.product(group.get("product"))
        if not {"holdings", "holdingval"} & group.keys():
            raise BrokerFault(_LACKING)
        rows_of_group = _many(group.get("holdings", group.get("holdingval")))
        found.extend(_holding(lowered(row), product) for row in rows_of_group)
    return found


def position(row: Row) -> Position:
    """Read one position; the product is a raw letter, `"NaN"` and blanks are none."""
    _must_name(row, "tradingsymbol", "token", "formattedinsname")
    return Position(
        exchange=familiar(row.get("exchange")),
        trading_symbol=familiar(row.get("tradingsymbol")),
        token=familiar(row.get("token")),
        product=words.product(row.get("product")),
        net_quantity=whole(row.get("netqty")),
        buy_quantity=whole(row.get("netbuyqty")),
        sell_quantity=whole(row.get("netsellqty")),
        average_price=decimal(row.get("averageprice")),
        buy_average_price=decimal(row.get("netbuyavgprice")),
        sell_average_price=decimal(row.get("netsellavgprice")),
        last_price=decimal(row.get("ltp")),
        previous_close=decimal(row.get("pdc")),
        realized_pnl=decimal(row.get("realizedpnl")),
        unrealized_pnl=decimal(row.get("unrealizedpnl")),
        multiplier=whole(row.get("multiplier")),
        lot_size=whole(row.get("lotsize")),
    )


def funds(rows: list[Row]) -> Funds:
    """Read the one row of funds; raises `BrokerFault` where there is none."""
    row = rows[0] if rows else {}
    if not {"availablemargin", "openingbalance"} & row.keys():
        raise BrokerFault(_LACKING)
    return Funds(
        available_margin=decimal(row.get("availablemargin")),
        opening_balance=decimal(row.get("openingbalance")),
        margin_used=decimal(row.get("marginused")),
        payin=decimal(row.get("payin")),
        payout=decimal(row.get("payout")),
        collateral=decimal(row.get("stockpledge")),
        holding_sell_credit=decimal(row.get("holdingsellcredit")),
        brokerage=decimal(row.get("brokerage")),
        exposure=decimal(row.get("exposure")),
        span=decimal(row.get("span")),
        premium=decimal(row.get("premium")),
        uncleared_cash=decimal(row.get("unclearedcash")),
    )


def profile(rows: list[Row]) -> Profile:
    """Read the profile, personal data as it came; raises `BrokerFault` where it is nobody's."""
    row = rows[0] if rows else {}
    user_id = text(row.get("userid"))
    if user_id is None:
        raise BrokerFault(_LACKING)
    return Profile(
        id=user_id.upper(),
        account_id=text(row.get("actid")),
        name=text(row.get("clientname")),
        status=text(row.get("actstatus")),
        exchanges=_texts(_many(row.get("exchange"))),
        products=_products(row),
        email=text(row.get("email")),
        mobile=text(row.get("mobno")),
        pan=text(row.get("pan")),
        depository_accounts=_texts(_accounts(row)),
    )


def _correlation(row: Row, field: str) -> str | None:
    return familiar(row.get(field.lower())) if field else None


def _must_name(row: Row, *fields: str) -> None:
    """Refuse a row that does not say what it is about; shown, it would be a line of nothing."""
    if not any(row.get(field) for field in fields):
        raise BrokerFault(_LACKING)


def _holding(row: Row, product: str | None) -> Holding:
    _must_name(row, "isin", "symbol", "exdetails")
    named = _many(row.get("symbol", row.get("exdetails")))
    listed = [lowered(each) for each in named if isinstance(each, dict)]
    first = min(listed, key=_market_order, default={})
    listings = [_listing(each) for each in listed]
    shown = _listing(first)
    return Holding(
        isin=text(row.get("isin")),
        product=product,
        exchange=shown.exchange,
        trading_symbol=shown.trading_symbol,
        token=shown.token,
        quantity=_first_whole(row, "netqty", "totalqty", "holdqty"),
        sellable_quantity=whole(row.get("sellableqty")),
        used_quantity=whole(row.get("usedqty")),
        average_price=decimal(row.get("buyprice")),
        last_price=decimal(first.get("ltp", row.get("ltp"))),
        previous_close=decimal(first.get("pdc", first.get("previousclose"))),
        pnl=decimal(row.get("netpnl")),
        listings=listings,
    )


def _listing(row: Row) -> Listing:
    return Listing(
        exchange=text(row.get("exchange")),
        trading_symbol=text(row.get("tradingsymbol") or row.get("symbol")),
        token=text(row.get("token")),
    )


def _market_order(row: Row) -> int:
    return {"NSE": 0, "BSE": 1}.get(text(row.get("exchange")) or "", 2)


def _pending(status: OrderStatus, quantity: int | None, filled: int | None) -> int | None:
    """Return what may still be filled: nothing of a final order, unknown where the fills are."""
    if status.is_final:
        return 0
    return None if quantity is None or filled is None else max(quantity - filled, 0)


def _accounts(row: Row) -> list[object]:
    named = _many(row.get("dpaccountnumber"))
    return [lowered(each).get("dpaccountnumber") if isinstance(each, dict) else each for each in named]


def _products(row: Row) -> list[str]:
    named = _texts(_many(row.get("producttypes"))) or _texts(_many(row.get("products")))
    return [ours for each in named if (ours := words.product(each))]


def _first_whole(row: Row, *names: str) -> int | None:
    return next((found for name in names if (found := whole(row.get(name))) is not None), None)


def _many(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _texts(values: list[object]) -> list[str]:
    return [found for each in values if (found := text(each))]
