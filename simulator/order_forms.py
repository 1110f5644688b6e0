"""The bodies of the order and webhook calls, read as strictly as contract §4 spells them: no unknown word."""

from decimal import Decimal
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StringConstraints,
    ValidationError,
    model_validator,
)

Exchange = Literal["NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX"]
Product = Literal["CNC", "MIS", "NRML", "MTF"]
Side = Literal["B", "S"]
Kind = Literal["L", "MKT", "SL", "SL-M"]

_Text = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Units = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,8}$")]
_Amount = Annotated[str, StringConstraints(pattern=r"^\d{1,9}(\.\d{1,4})?$")]
_AmountOrBlank = Annotated[str, StringConstraints(pattern=r"^(\d{1,9}(\.\d{1,4})?)?$")]
_DigitsOrBlank = Annotated[str, StringConstraints(pattern=r"^\d{0,9}$")]


class Refusal(Exception):  # an answer, not a failure
    """The broker says no at once, in these words; nothing was taken."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Terms(_Form):
    """What an order wants and a modification may change."""

    qty: _Units
    price: _Amount
    price_type: Kind = Field(alias="priceType")
    ret: Literal["DAY", "IOC"]
    trigger_price: _AmountOrBlank = Field("", alias="triggerPrice")
    disclosed_qty: _DigitsOrBlank = Field("", alias="disclosedQty")
    mkt_protection: _AmountOrBlank = Field("", alias="mktProtection")
    target: _AmountOrBlank = ""
    stop_loss: _AmountOrBlank = Field("", alias="stopLoss")
    trailing_price: _AmountOrBlank = Field("", alias="trailingPrice")

    @property
    def quantity(self) -> int:
        return int(self.qty)

    @property
    def limit(self) -> Decimal:
        return Decimal(self.price)

    @property
    def trigger(self) -> Decimal:
        return Decimal(self.trigger_price or 0)

    @property
    def is_at_market(self) -> bool:
        return self.price_type in {"MKT", "SL-M"}

    @property
    def waits_for_trigger(self) -> bool:
        return self.price_type in {"SL", "SL-M"}


class _SidedTerms(Terms):
    exchange: Exchange
    trading_symbol: _Text = Field(alias="tradingSymbol")
    trans_type: Side = Field(alias="transType")

    @model_validator(mode="after")
    def _prices_fit(self) -> Self:
        """Hold the price rules of contract §4."""
        rules = {
            "Price must be 0 for MKT and SL-M": self.is_at_market == (self.limit == 0),
            "Trigger price is needed for SL and SL-M": not self.waits_for_trigger or self.trigger > 0,
            "Disclosed quantity is more than quantity": int(self.disclosed_qty or 0) <= self.quantity,
            "Trigger price is above the price": (self.price_type, self.trans_type) != ("SL", "B")
            or self.trigger <= self.limit,
            "Trigger price is below the price": (self.price_type, self.trans_type) != ("SL", "S")
            or self.trigger >= self.limit,
        }
        broken = [words for words, holds in rules.items() if not holds]
        if broken:
            raise ValueError(broken[0])
        return self


class PlaceForm(_SidedTerms):
    """One item of what is placed."""

    product: Product
    order_type: Literal["Regular", "AMO"] = Field(alias="orderType")
    source: Literal["API", "WEB"]
    token: _DigitsOrBlank = ""
    remarks: str = ""


class ModifyForm(_SidedTerms):
    """The whole desired state of an order."""

    order_no: _Text = Field(alias="orderNo")


class CancelForm(_Form):
    """One item of what is cancelled."""

    order_no: _Text = Field(alias="orderNo")


class MarginForm(_Form):
    """An order that is not placed, only weighed."""

    exchange: Exchange
    trading_symbol: _Text = Field(alias="tradingSymbol")
    qty: _Units
    price: _Amount
    product: Product
    trans_type: Side = Field(alias="transType")
    price_type: Kind = Field(alias="priceType")
    order_type: Literal["Regular", "AMO"] = Field(alias="orderType")
    trigger_price: _AmountOrBlank = Field("", alias="triggerPrice")
    stop_loss: _AmountOrBlank = Field("", alias="stopLoss")


class ConversionForm(_Form):
    """A position that is to change its product."""

    exchange: Exchange
    trading_symbol: _Text = Field(alias="tradingSymbol")
    qty: _Units
    product: Product
    prev_product: Product = Field(alias="prevProduct")
    trans_type: Side = Field(alias="transType")
    pos_type: Literal["DAY", "NET"] = Field(alias="posType")
    order_source: Literal["API", "WEB"] = Field(alias="orderSource")


def _is_posted_to(url: str) -> str:
    """Return a URL as it was given, if one can post to it."""
    HttpUrl(url)
    return url


class SubscriptionForm(_Form):
    """Where a vendor wants order updates, or no more."""

    callback_url: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_is_posted_to)] = Field(
        alias="callbackUrl"
    )


F = TypeVar("F", bound=_Form)


def read_form(kind: type[F], content: object) -> F:
    """Return a body as its form; raises `Refusal` with the words for the first thing that is wrong with it."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise Refusal(_words(error)) from None


def _words(error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["ctx"]["error"]) if "ctx" in first and "error" in first["ctx"] else "Invalid request"
    said = {"missing": "Missing", "extra_forbidden": "Unknown"}.get(first["type"], "Invalid")
    return f"{said} {first['loc'][0]}"
