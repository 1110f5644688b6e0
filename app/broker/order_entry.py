"""What we write to the broker to place, modify, cancel and convert, and how it names a margin (docs/broker.md)."""

from decimal import Decimal

from app.broker import words
from app.broker.answers import Row
from app.broker.values import decimal, text
from app.ordering import Conversion, OrderTerms
from app.problems import BrokerFault
from app.trading import Margin, plain_decimal

_SOURCE = "API"
_NO_PRICE = "0"  # the broker wants a price of every order, also where it has none


def place_item(terms: OrderTerms, protection: Decimal | None, correlation: dict[str, str]) -> dict[str, str]:
    """Return one item of the list to place; `correlation` is a field's name and what the broker is to echo in it."""
    return {
        "exchange": terms.exchange,
        "tradingSymbol": terms.trading_symbol,
        **_wanted(terms, protection),
        "product": terms.product,
        "orderType": words.VARIETIES_SENT[terms.variety],
        "source": _SOURCE,
        **correlation,
    }


def change_body(order_no: str, terms: OrderTerms, protection: Decimal | None) -> dict[str, str]:
    """Return the whole state that an order is to have."""
    named = {"exchange": terms.exchange, "orderNo": order_no, "tradingSymbol": terms.trading_symbol}
    return named | _wanted(terms, protection)


def cancel_item(order_no: str) -> dict[str, str]:
    """Return one item of the list to cancel."""
    return {"orderNo": order_no}


def margin_body(terms: OrderTerms) -> dict[str, str]:
    """Return what an order's margin is asked with."""
    wanted = _wanted(terms, None)
    return {
        "exchange": terms.exchange,
        "tradingSymbol": terms.trading_symbol,
        "product": terms.product,
        "orderType": words.VARIETIES_SENT[terms.variety],
        **{name: wanted[name] for name in ("qty", "price", "transType", "priceType", "triggerPrice", "stopLoss")},
    }


def conversion_body(conversion: Conversion) -> dict[str, str]:
    """Return what a conversion is asked with."""
    return {
        "exchange": conversion.exchange,
        "tradingSymbol": conversion.trading_symbol,
        "qty": str(conversion.quantity),
        "product": conversion.to_product,
        "prevProduct": conversion.from_product,
        "transType": words.SIDES_SENT[conversion.transaction_type],
        "posType": conversion.position_type,
        "orderSource": _SOURCE,
    }


def margin(rows: list[Row]) -> Margin:
    """Read the one row of a margin; raises `BrokerFault` where there is none."""
    row = rows[0] if rows else {}
    if not {"requiredmargin", "marginused", "availablemargin"} & row.keys():
        raise BrokerFault("The broker's answer lacks what was asked for.")
    return Margin(
        required_margin=decimal(row.get("requiredmargin")),
        available_margin=decimal(row.get("availablemargin")),
        margin_shortfall=decimal(row.get("marginshortfall")),
        margin_used=decimal(row.get("marginused")),
        opening_balance=decimal(row.get("openingbalance")),
        remarks=text(row.get("remarks")),
    )


def _wanted(terms: OrderTerms, protection: Decimal | None) -> dict[str, str]:
    """Return what both a new order and a change of one say; what is unused is an empty text."""
    is_protected = protection is not None and terms.is_at_market
    return {
        "qty": str(terms.quantity),
        "price": _NO_PRICE if terms.price is None else plain_decimal(terms.price),
        "transType": words.SIDES_SENT[terms.transaction_type],
        "priceType": words.ORDER_TYPES_SENT[terms.order_type],
        "ret": terms.validity,
        "triggerPrice": "" if terms.trigger_price is None else plain_decimal(terms.trigger_price),
        "disclosedQty": "" if terms.disclosed_quantity is None else str(terms.disclosed_quantity),
        "mktProtection": plain_decimal(protection) if is_protected and protection is not None else "",
        "target": "",
        "stopLoss": "",
        "trailingPrice": "",
    }
