"""The broker's words for things of the trade, and ours (contract of the broker, docs/broker.md "Words")."""

from collections.abc import Mapping
from functools import lru_cache

from app.broker.values import drift, familiar
from app.trading import OrderStatus, OrderType, Product, TransactionType, Validity, Variety

_TRANSACTION_TYPES = {
    "b": TransactionType.BUY, "buy": TransactionType.BUY,
    "s": TransactionType.SELL, "sell": TransactionType.SELL,
}  # fmt: skip
_ORDER_TYPES = {
    "l": OrderType.LIMIT, "lmt": OrderType.LIMIT, "limit": OrderType.LIMIT,
    "mkt": OrderType.MARKET, "market": OrderType.MARKET,
    "sl": OrderType.SL, "sllmt": OrderType.SL,
    "slm": OrderType.SL_M, "slmkt": OrderType.SL_M,
}  # fmt: skip
_PRODUCTS = {
    "cnc": Product.CNC, "c": Product.CNC, "longterm": Product.CNC, "delivery": Product.CNC,
    "mis": Product.MIS, "i": Product.MIS, "intraday": Product.MIS,
    "nrml": Product.NRML, "m": Product.NRML, "normal": Product.NRML,
    "mtf": Product.MTF, "f": Product.MTF,
    "bo": Product.BO, "b": Product.BO, "bracket": Product.BO,
    "co": Product.CO, "h": Product.CO, "cover": Product.CO,
}  # fmt: skip
_VALIDITIES = {"day": Validity.DAY, "ioc": Validity.IOC}
_VARIETIES = {"regular": Variety.REGULAR, "amo": Variety.AMO}
_STATUSES = {
    "pending": OrderStatus.ACCEPTED, "validationpending": OrderStatus.ACCEPTED, "newack": OrderStatus.ACCEPTED,
    "putorderreqreceived": OrderStatus.ACCEPTED, "amoreceived": OrderStatus.ACCEPTED,
    "open": OrderStatus.OPEN,
    "triggerpending": OrderStatus.TRIGGER_PENDING,
    "complete": OrderStatus.COMPLETE, "completed": OrderStatus.COMPLETE, "executed": OrderStatus.COMPLETE,
    "canceled": OrderStatus.CANCELLED, "cancelled": OrderStatus.CANCELLED, "amocancelled": OrderStatus.CANCELLED,
    "rejected": OrderStatus.REJECTED, "invalidstatustype": OrderStatus.REJECTED,
}  # fmt: skip

SIDES_SENT = {TransactionType.BUY: "B", TransactionType.SELL: "S"}
ORDER_TYPES_SENT = {OrderType.LIMIT: "L", OrderType.MARKET: "MKT", OrderType.SL: "SL", OrderType.SL_M: "SL-M"}
VARIETIES_SENT = {Variety.REGULAR: "Regular", Variety.AMO: "AMO"}


def transaction_type(value: object) -> str | None:
    return _ours("transaction type", _TRANSACTION_TYPES, value)


def order_type(value: object) -> str | None:
    return _ours("order type", _ORDER_TYPES, value)


def product(value: object) -> str | None:
    return _ours("product", _PRODUCTS, value)


def validity(value: object) -> str | None:
    return _ours("validity", _VALIDITIES, value)


def variety(value: object) -> str | None:
    return _ours("variety", _VARIETIES, value)


def order_status(value: object) -> OrderStatus:
    """Return our word for a status; one that we have not met is `UNKNOWN`, which is not final."""
    written = familiar(value)
    status = _STATUSES.get(_plain(written or ""))
    if status is None and written:
        drift("status", written)
    return status or OrderStatus.UNKNOWN


def says_expired(status_text: str | None) -> bool:
    """Say whether the broker's own word for a status is that the order's time is over."""
    return "expired" in _plain(status_text or "")


def _ours(kind: str, table: Mapping[str, str], value: object) -> str | None:
    """Return our word, or the broker's as it came where we have none."""
    written = familiar(value)
    if written is None:
        return None
    ours = table.get(_plain(written))
    if ours is None:
        drift(kind, written)
    return ours or written


@lru_cache(1024)
def _plain(written: str) -> str:
    return written.lower().replace(" ", "").replace("_", "").replace("-", "")
