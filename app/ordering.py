"""What an investor wants done, in our words; what can't be meant is refused here, before anything is sent."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, StrictBool, StrictInt, WithJsonSchema, model_validator

from app.trading import Model, OrderType, Product, Refusal, TransactionType, Validity, Variety, plain_decimal

_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,4})?", re.ASCII)  # the finest tick is 0.0025, of currency futures
_MOST_UNITS = 1_000_000_000
_HAS_PRICE = frozenset({OrderType.LIMIT, OrderType.SL})
_HAS_TRIGGER = frozenset({OrderType.SL, OrderType.SL_M})


def _price(given: object) -> Decimal | None:
    """Read a decimal string; zero is how the broker writes that there is no price, and is none."""
    if given is None or isinstance(given, Decimal):
        return given or None
    if not isinstance(given, str) or not _PRICE.fullmatch(given):
        raise ValueError(
            'must be a decimal string such as "14.10", nine digits before the point and four behind at most'
        )
    number = Decimal(given)
    return None if number.is_zero() else number


def _told_price(price: Decimal | None) -> str | None:
    return None if price is None else plain_decimal(price)


Price = Annotated[
    Decimal | None,
    BeforeValidator(_price),
    PlainSerializer(_told_price, return_type=str | None, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": rf"^{_PRICE.pattern}$"}, {"type": "null"}],
            "description": "Rupees, as a decimal string",
        }
    ),
]
"""A price in rupees, none where there is none."""

Exchange = Literal["NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX"]
TradableProduct = Literal[Product.CNC, Product.MIS, Product.NRML, Product.MTF]
TradingSymbol = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9&*._-]{1,64}$", description="As the contract master has it, `IDEA-EQ`"),
]
Units = Annotated[StrictInt, Field(ge=1, le=_MOST_UNITS, description="Units, not lots")]


def _units_or_none(given: object) -> object:
    """Read zero as none, as the broker writes it."""
    return None if given == 0 and not isinstance(given, bool) else given


_DISCLOSED = {"type": "integer", "minimum": 0, "maximum": _MOST_UNITS, "description": "Units, not lots; 0 means none"}
DisclosedUnits = Annotated[
    Units | None,
    BeforeValidator(_units_or_none),
    WithJsonSchema({"anyOf": [_DISCLOSED, {"type": "null"}]}),
]


def canonical(asked: Model) -> dict[str, object]:
    """Return what was asked for such that equal requests are equal: defaults filled in, 52.0 written as 52."""
    return {name: _canonical(value) for name, value in asked.model_dump(by_alias=False).items()}


def _canonical(value: object) -> object:
    return plain_decimal(value.normalize()) if isinstance(value, Decimal) else value


class OrderTerms(Model):
    """What one order says."""

    exchange: Exchange
    trading_symbol: TradingSymbol
    transaction_type: TransactionType
    quantity: Units
    product: TradableProduct
    order_type: OrderType
    price: Price = None
    trigger_price: Price = None
    validity: Validity = Validity.DAY
    variety: Variety = Variety.REGULAR
    disclosed_quantity: DisclosedUnits = None

    @property
    def is_at_market(self) -> bool:
        return self.order_type not in _HAS_PRICE

    @property
    def value(self) -> Decimal | None:
        """What it moves at most, in rupees; none where it takes whatever price there is."""
        return None if self.price is None else self.price * self.quantity


class NewOrder(OrderTerms):
    """One order to place. `allowDuplicate` sends it although an equal one of the user's is still unknown."""

    allow_duplicate: StrictBool = False

    @property
    def terms(self) -> OrderTerms:
        """What the order says, without what it says to us."""
        return OrderTerms(**self.model_dump(exclude={"allow_duplicate"}))


class OrderChange(Model):
    """What is to change of an open order; what is left out stays as it is."""

    quantity: Units | None = None
    order_type: OrderType | None = None
    price: Price = None
    trigger_price: Price = None
    validity: Validity | None = None
    disclosed_quantity: DisclosedUnits = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing that is to change")
        return self

    def applied_to(self, terms: OrderTerms) -> OrderTerms:
        """Return the whole of what is wanted; a price that its order type has no use for is dropped."""
        changed = {name: value for name, value in self if name in self.model_fields_set}
        for name in ("quantity", "order_type", "validity"):
            if changed.get(name, 0) is None:
                del changed[name]
        wanted = terms.model_copy(update=changed)
        dropped = {name: None for name in _unused(wanted.order_type) if name not in changed}
        return wanted.model_copy(update=dropped)


class Conversion(Model):
    """A position, or a part of it, to be moved from one product to another."""

    exchange: Exchange
    trading_symbol: TradingSymbol
    transaction_type: TransactionType
    quantity: Units
    from_product: TradableProduct
    to_product: TradableProduct
    position_type: Literal["DAY", "NET"]


def _unused(order_type: OrderType) -> list[str]:
    has = {"price": order_type in _HAS_PRICE, "trigger_price": order_type in _HAS_TRIGGER}
    return [name for name, is_used in has.items() if not is_used]


def price_refusals(terms: OrderTerms) -> Iterator[Refusal]:
    """Yield what is wrong with prices and quantities, by the rules of docs/broker.md, "Orders"."""
    kind, price, trigger = terms.order_type, terms.price, terms.trigger_price
    if kind in _HAS_PRICE and price is None:
        yield Refusal("/price", f"must be above 0 for a {kind} order")
    if kind not in _HAS_PRICE and price is not None:
        yield Refusal("/price", f"must be null or 0 for a {kind} order")
    if kind in _HAS_TRIGGER and trigger is None:
        yield Refusal("/triggerPrice", f"must be above 0 for a {kind} order")
    if kind not in _HAS_TRIGGER and trigger is not None:
        yield Refusal("/triggerPrice", f"must be null for a {kind} order")
    if kind is OrderType.SL and price and trigger:
        yield from _stop_refusals(terms.transaction_type, price, trigger)
    if terms.disclosed_quantity and terms.disclosed_quantity > terms.quantity:
        yield Refusal("/disclosedQuantity", "must not be above quantity")


def _stop_refusals(side: TransactionType, price: Decimal, trigger: Decimal) -> Iterator[Refusal]:
    if side is TransactionType.BUY and trigger > price:
        yield Refusal("/triggerPrice", "must not be above price when buying")
    if side is TransactionType.SELL and trigger < price:
        yield Refusal("/triggerPrice", "must not be below price when selling")


def conversion_refusals(conversion: Conversion) -> Iterator[Refusal]:
    """Yield what is wrong with a conversion."""
    if conversion.from_product == conversion.to_product:
        yield Refusal("/toProduct", "must be another than fromProduct")
