"""One order of the simulated broker: how it stands, how it got there, and its rows in book, trade book and history."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from simulator.clock import date_first, time_first
from simulator.investors import Fields
from simulator.order_forms import Terms

PENDING, OPEN, TRIGGER_PENDING, AMO_RECEIVED = "PENDING", "OPEN", "TRIGGER_PENDING", "AMO received"
COMPLETE, REJECTED, CANCELED, AMO_CANCELLED = "COMPLETE", "REJECTED", "CANCELED", "AMO CANCELLED"
FINAL = frozenset({COMPLETE, REJECTED, CANCELED, AMO_CANCELLED})

_FEWEST_PLACES = -2  # the exponent that every price is written with at least


@dataclass(frozen=True)
class Fill:
    """Some units that found their price."""

    quantity: int
    price: Decimal


@dataclass
class Order:
    """An order that was taken; `identity` holds what never changes, in the words of the broker's rows."""

    identity: Fields
    terms: Terms
    taken_at: datetime
    shown_at: datetime
    remarks: str = ""
    item: object = None
    status: str = PENDING
    reason: str | None = None
    filled: int = 0
    filled_value: Decimal = Decimal(0)
    is_triggered: bool = False
    is_seeded: bool = False
    updated_at: datetime | None = None
    late_rejection: tuple[datetime, str] | None = None
    fills: list[Fill] = field(default_factory=list)
    trades: list[Fields] = field(default_factory=list)
    steps: list[Fields] = field(default_factory=list)
    observer: "Observer | None" = field(default=None, repr=False, compare=False)

    @property
    def number(self) -> str:
        return str(self.identity["orderNo"])

    @property
    def exchange(self) -> str:
        return str(self.identity["exchange"])

    @property
    def symbol(self) -> str:
        return str(self.identity["tradingSymbol"])

    @property
    def is_buy(self) -> bool:
        return self.identity["transType"] == "B"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def open_quantity(self) -> int:
        return 0 if self.is_final else self.terms.quantity - self.filled

    def move(self, status: str, report: str, at: datetime) -> None:
        """Go over to a status, write the step down, and tell whoever observes the order."""
        self.status = status
        if status not in {PENDING, AMO_RECEIVED, AMO_CANCELLED, REJECTED}:
            self.updated_at = at
        self.steps.append(self._step(report, at))
        if self.observer is not None:
            self.observer(self, report, at)

    def open(self, report: str, at: datetime) -> None:
        """Stand open at the exchange, or wait for the trigger there."""
        waits = self.terms.waits_for_trigger and not self.is_triggered
        self.move(TRIGGER_PENDING if waits else OPEN, report, at)

    def reject(self, reason: str, at: datetime) -> None:
        self.reason = reason
        self.move(REJECTED, "Rejected", at)

    def reject_if_due(self, at: datetime) -> None:
        """Let a late rejection happen once its time has come, unless the order was final before."""
        if self.late_rejection is None or self.late_rejection[0] > at:
            return
        due_at, reason = self.late_rejection
        self.late_rejection = None
        if not self.is_final:
            self.reject(reason, due_at)

    def cancel(self, at: datetime) -> None:
        self.move(AMO_CANCELLED if self.status == AMO_RECEIVED else CANCELED, "Canceled", at)

    def change(self, terms: Terms, at: datetime) -> None:
        """Take new terms over; an order that waits goes on waiting, and one that has been filled enough is done."""
        if terms.trigger_price != self.terms.trigger_price:
            self.is_triggered = False
        self.terms = terms
        if self.filled >= terms.quantity:
            self.move(COMPLETE, "Replaced", at)
        elif self.status in {PENDING, AMO_RECEIVED}:
            self.move(self.status, "Replaced", at)
        else:
            self.open("Replaced", at)

    def fill(self, quantity: int, price: Decimal, at: datetime) -> None:
        """Fill some of it."""
        self.filled += quantity
        self.filled_value += quantity * price
        self.fills.append(Fill(quantity, price))
        self.updated_at = at
        self.trades.append(self._trade(quantity, price, at))
        self.move(COMPLETE if self.filled == self.terms.quantity else OPEN, "Fill", at)

    def row(self) -> Fields:
        """Return the order's row in the order book."""
        terms = self.terms
        return {
            **self.identity, "qty": terms.qty, "ret": terms.ret, "price": written(terms.limit),
            "avgTradePrice": self._average(), "disclosedQty": terms.disclosed_qty or "0",
            "priceType": terms.price_type, "orderStatus": self.status, "fillShares": str(self.filled),
            "exchUpdateTime": date_first(self.updated_at) if self.updated_at else None,
            "exchOrderId": self._exchange_number(), "rejectedReason": self.reason,
            "triggerPrice": written(terms.trigger) if terms.trigger else None,
            "mktProtection": terms.mkt_protection or None, "target": terms.target or None,
            "stopLoss": terms.stop_loss or None, "trailingPrice": terms.trailing_price or None,
        }  # fmt: skip

    def _exchange_number(self) -> str | None:
        known = self.identity["exchOrderId"]
        return str(known) if known else f"11{self.number}" if self.updated_at else None

    def _average(self) -> str | None:
        return written(self.filled_value / self.filled) if self.filled else None

    def _step(self, report: str, at: datetime) -> Fields:
        return step_of(self.row(), report) | {"time": time_first(at)}

    def _trade(self, quantity: int, price: Decimal, at: datetime) -> Fields:
        row = self.row()
        return {name: row[name] for name in _SHARED_WITH_TRADES} | {
            "fillId": f"{self.number[-8:]}{len(self.trades) + 1:02d}", "fillTime": date_first(at),
            "fillshares": str(self.filled), "fillqty": str(quantity), "pricePrecision": "2",
            "prcftr": "1.000000", "fillprc": written(price), "exchUpdateTime": date_first(at),
        }  # fmt: skip


Observer = Callable[[Order, str, datetime], None]
"""Is told of every step of an order: which report it is, and when it happened."""

_SHARED_WITH_TRADES = (
    "orderNo", "userId", "actId", "exchange", "tradingSymbol", "transType", "ret", "token", "product", "priceType",
    "orderType", "qty", "lotSize", "tickSize", "price", "exchOrderId", "formattedInsName", "ltp", "orderTime",
)  # fmt: skip


def placed_identity(order_no: str, user_id: str, form: Fields, at: datetime) -> Fields:
    """Return what never changes of an order that is placed now."""
    named = {name: form[name] for name in ("exchange", "tradingSymbol", "transType", "product", "orderType")}
    return {"orderNo": order_no, "userId": user_id, "actId": user_id} | named | {
        "token": form["token"] or None, "multiplier": "1", "lotSize": "1", "tickSize": "0.05", "exchOrderId": None,
        "formattedInsName": form["tradingSymbol"], "ltp": None, "snoOrderNumber": None, "snoFillid": None,
        "orderTime": time_first(at), "rprice": "0.00", "rqty": "0",
    }  # fmt: skip


def seeded_order(row: Fields, trades: list[Fields], at: datetime) -> Order:
    """Return an order that has stood in the book from the beginning."""
    terms = Terms.model_validate({
        "qty": row["qty"], "price": row["price"], "priceType": row["priceType"], "ret": row["ret"],
        "triggerPrice": row["triggerPrice"] or "", "disclosedQty": row["disclosedQty"],
    })  # fmt: skip
    filled = int(str(row["fillShares"]))
    untouched: Fields = {"fillShares": "0", "avgTradePrice": None, "exchOrderId": None, "orderStatus": PENDING}
    status = str(row["orderStatus"])
    return Order(
        row, terms, taken_at=at, shown_at=at, status=status, is_seeded=True, filled=filled,
        reason=None if row["rejectedReason"] is None else str(row["rejectedReason"]),
        filled_value=filled * Decimal(str(row["avgTradePrice"] or 0)),
        trades=[each for each in trades if each["orderNo"] == row["orderNo"]],
        steps=[step_of(row | untouched, "NewAck"), step_of(row, status.title())],
    )  # fmt: skip


def step_of(row: Fields, report: str) -> Fields:
    """Return a row of the book as a step of the order's history."""
    taken = ("orderNo", "userId", "actId", "exchange", "tradingSymbol")
    return {name: row[name] for name in taken} | {
        "quantity": row["qty"], "transType": row["transType"], "priceType": row["priceType"],
        "orderType": row["orderType"], "ret": row["ret"], "token": row["token"], "pricePrecision": "2",
        "lotSize": "1", "tickSize": "0.05", "price": row["price"], "avgPrice": row["avgTradePrice"],
        "disclosedQty": row["disclosedQty"], "product": row["product"], "status": row["orderStatus"],
        "report": report, "fillshares": row["fillShares"], "time": row["orderTime"], "exchTime": None,
        "remarks": None, "exchOrderNo": row["exchOrderId"],
    }  # fmt: skip


def written(amount: Decimal) -> str:
    """Return an amount as the broker writes it: two places, four where they are needed."""
    rounded = (round(amount, 4) + 0).normalize()  # plus zero: no "-0.00"
    exponent = rounded.as_tuple().exponent
    places = _FEWEST_PLACES if not isinstance(exponent, int) else min(exponent, _FEWEST_PLACES)
    return str(rounded.quantize(Decimal(1).scaleb(places)))
