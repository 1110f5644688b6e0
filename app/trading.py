"""The words of the trade as we and our frontends use them; what the broker calls them stands in `broker/`."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo


def plain_decimal(amount: Decimal) -> str:
    """Return an amount as we write it: all its digits, no exponent."""
    return format(amount, "f")


Rupees = Annotated[
    Decimal,
    PlainSerializer(plain_decimal, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "Rupees, as a decimal string"},
        mode="serialization",
    ),
]
"""Money or a price in rupees; a decimal string in JSON, never a float and never with an exponent."""


class Model(BaseModel):
    """Frozen, camelCase on the wire, and strict about what it knows."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        extra="forbid",
    )


class TransactionType(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Product(StrEnum):
    """Delivery, intraday, carry forward, margin funding; bracket and cover only ever come back from the broker."""

    CNC = "CNC"
    MIS = "MIS"
    NRML = "NRML"
    MTF = "MTF"
    BO = "BO"
    CO = "CO"


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    MARKET = "MARKET"
    SL = "SL"
    SL_M = "SL-M"


class Validity(StrEnum):
    DAY = "DAY"
    IOC = "IOC"


class Variety(StrEnum):
    REGULAR = "REGULAR"
    AMO = "AMO"


class OrderStatus(StrEnum):
    """`UNKNOWN` is a word of the broker that we have not met: not final, and told as it came in `statusText`."""

    ACCEPTED = "ACCEPTED"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        return self in {OrderStatus.COMPLETE, OrderStatus.CANCELLED, OrderStatus.REJECTED}


def _open_set(*known: str) -> FieldInfo:
    info: FieldInfo = Field(
        examples=list(known), description=f"{', '.join(known)}, or the broker's own word where it is another."
    )
    return info


Side = Annotated[str, _open_set(*TransactionType)]
ProductWord = Annotated[str, _open_set(*Product)]
OrderTypeWord = Annotated[str, _open_set(*OrderType)]
ValidityWord = Annotated[str, _open_set(*Validity)]
VarietyWord = Annotated[str, _open_set(*Variety)]


class Outcome(StrEnum):
    """What became of something done at the broker; `unknown` is neither done nor failed, and is found out."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Refusal(NamedTuple):
    """One reason why a request can't be sent: a JSON pointer into it, and what is wrong there."""

    pointer: str
    detail: str


class Order(Model):
    """One order as the broker's book shows it. A word the broker uses and we do not know is passed on as it came."""

    order_no: str | None
    exchange: str | None
    trading_symbol: str | None
    transaction_type: Side | None
    quantity: int | None
    filled_quantity: int | None
    pending_quantity: int | None
    price: Rupees | None
    trigger_price: Rupees | None
    average_price: Rupees | None
    product: ProductWord | None
    order_type: OrderTypeWord | None
    variety: VarietyWord | None
    validity: ValidityWord | None
    status: OrderStatus
    status_text: str | None
    rejection_reason: str | None
    exchange_order_id: str | None
    placement_id: str | None
    placed_at: AwareDatetime | None


class OrderState(Model):
    """One step in the life of an order, as the broker's history tells it."""

    status: OrderStatus
    status_text: str | None
    report: str | None
    quantity: int | None
    filled_quantity: int | None
    price: Rupees | None
    average_price: Rupees | None
    exchange_order_id: str | None
    at: AwareDatetime | None


class OrderWithHistory(Order):
    """One order and every step of it, the newest first."""

    history: list[OrderState]


class Trade(Model):
    """One fill."""

    trade_id: str | None
    order_no: str | None
    exchange: str | None
    trading_symbol: str | None
    transaction_type: Side | None
    product: ProductWord | None
    quantity: int | None
    price: Rupees | None
    traded_at: AwareDatetime | None


class Listing(Model):
    """Where a holding can be sold."""

    exchange: str | None
    trading_symbol: str | None
    token: str | None


class Holding(Model):
    """Shares in the investor's depository account; prices in rupees, quantities in shares."""

    isin: str | None
    product: ProductWord | None
    exchange: str | None
    trading_symbol: str | None
    token: str | None
    quantity: int | None
    sellable_quantity: int | None
    used_quantity: int | None
    average_price: Rupees | None
    last_price: Rupees | None
    previous_close: Rupees | None
    pnl: Rupees | None
    listings: list[Listing]


class Position(Model):
    """One position of the day; `netQuantity` is negative when short, in units."""

    exchange: str | None
    trading_symbol: str | None
    token: str | None
    product: ProductWord | None
    net_quantity: int | None
    buy_quantity: int | None
    sell_quantity: int | None
    average_price: Rupees | None
    buy_average_price: Rupees | None
    sell_average_price: Rupees | None
    last_price: Rupees | None
    previous_close: Rupees | None
    realized_pnl: Rupees | None
    unrealized_pnl: Rupees | None
    multiplier: int | None
    lot_size: int | None


class Funds(Model):
    """What the investor can trade with, in rupees; `openingBalance` may be negative."""

    available_margin: Rupees | None
    opening_balance: Rupees | None
    margin_used: Rupees | None
    payin: Rupees | None
    payout: Rupees | None
    collateral: Rupees | None
    holding_sell_credit: Rupees | None
    brokerage: Rupees | None
    exposure: Rupees | None
    span: Rupees | None
    premium: Rupees | None
    uncleared_cash: Rupees | None


class Margin(Model):
    """What an order would need, in rupees, and what there is."""

    required_margin: Rupees | None
    available_margin: Rupees | None
    margin_shortfall: Rupees | None
    margin_used: Rupees | None
    opening_balance: Rupees | None
    remarks: str | None


class Profile(Model):
    """Who the investor is at the broker. The last four are personal: masked, unless the operator shows them whole."""

    id: str
    account_id: str | None
    name: str | None
    status: str | None
    exchanges: list[str]
    products: list[ProductWord]
    email: str | None
    mobile: str | None
    pan: str | None
    depository_accounts: list[str]
