"""Where orders are placed, changed, cancelled and weighed; what the desk says no to, it has not taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from simulator import accounts
from simulator.books import Books
from simulator.investors import Fields, Investor
from simulator.order_forms import CancelForm, ConversionForm, MarginForm, ModifyForm, PlaceForm, Refusal, Terms
from simulator.orders import AMO_RECEIVED, PENDING, Order, placed_identity

_SLICE_REFUSED = "RED:Order slice is refused by the exchange's freeze quantity"
_MOST_SLICES = 100


@dataclass(frozen=True)
class Slice:
    """What became of one slice of an order: a number, or words."""

    order_no: str | None
    words: str = ""


class Desk:
    """Order entry over the books."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def place(self, investor: Investor, form: PlaceForm, item: object, at: datetime) -> list[Slice]:
        """Take an order, in slices where it is above the freeze quantity; raises `Refusal`."""
        self._refuse_if_told(investor)
        _refuse_exchange(investor, form.exchange)
        switches = self._books.switches.of(investor.id)
        if form.quantity > _MOST_SLICES * (switches.freeze_quantity or form.quantity):
            raise Refusal("RED:Quantity is above the freeze quantity of too many slices")
        slices = [
            Slice(None, _SLICE_REFUSED)
            if index == switches.refused_slice
            else Slice(self._take(investor, form.model_copy(update={"qty": str(quantity)}), item, at).number)
            for index, quantity in enumerate(_cut(form.quantity, switches.freeze_quantity))
        ]
        if all(each.order_no is None for each in slices):
            raise Refusal(_SLICE_REFUSED)
        return slices

    def modify(self, investor: Investor, form: ModifyForm, at: datetime) -> str:
        """Change an order that is not final and return its number; raises `Refusal`."""
        order = self._order(investor, form.order_no, at)
        self._refuse_if_told(investor)
        if order.is_final:
            raise Refusal("SAF:order is not open to modify")
        named = (form.exchange, form.trading_symbol, form.trans_type)
        if named != tuple(order.identity[name] for name in ("exchange", "tradingSymbol", "transType")):
            raise Refusal("ORA:order is of another symbol or side")
        if form.quantity < order.filled:
            raise Refusal("SAF:quantity is below what is filled")
        terms = Terms.model_validate(form.model_dump(by_alias=True, include=set(Terms.model_fields)))
        reason = self._shortfall(investor, order, terms, at)
        if reason:
            raise Refusal(reason)
        order.change(terms, at)
        self._books.match(investor.id, [order], at)
        return order.number

    def cancel(self, investor: Investor, form: CancelForm, at: datetime) -> str:
        """Cancel an order that is not final and return its number; raises `Refusal`."""
        order = self._order(investor, form.order_no, at)
        self._refuse_if_told(investor)
        if order.is_final:
            raise Refusal("SAF:order is not open to cancel")
        order.cancel(at)
        return order.number

    def margin(self, investor: Investor, form: MarginForm, at: datetime) -> Fields:
        """Say what an order would bind, and whether the funds are enough for it; raises `Refusal`."""
        _refuse_exchange(investor, form.exchange)
        price = Decimal(form.price) or Decimal(form.trigger_price or 0) or self._books.market.price(form.trading_symbol)
        required = int(form.qty) * price if form.trans_type == "B" else Decimal(0)
        available = self._books.available(investor, at)
        shortfall = max(required - available, Decimal(0))
        return {
            "remarks": "Insufficient Balance" if shortfall else "",
            "marginUsed": float(self._books.margin_used(investor, at)), "openingBalance": investor.opening_balance,
            "requiredMargin": float(required), "availableMargin": float(available),
            "marginShortfall": float(shortfall),
        }  # fmt: skip

    def convert(self, investor: Investor, form: ConversionForm, at: datetime) -> None:
        """Move a part of a position to another product; raises `Refusal`."""
        self._refuse_if_told(investor)
        raw = accounts.RAW_PRODUCT
        source = (form.exchange, form.trading_symbol, raw[form.prev_product])
        target = (form.exchange, form.trading_symbol, raw[form.product])
        stake = accounts.stakes(investor, self._books.changes(investor.id, at)).get(source, accounts.Stake())
        is_buy, quantity = form.trans_type == "B", int(form.qty)
        if source == target or (stake.net if is_buy else -stake.net) < quantity:
            raise Refusal("SAF:no such position to convert")
        value = quantity * (stake.paid / stake.bought if is_buy else stake.earned / stake.sold)
        gone = accounts.Change(source, stake.token, -quantity, -value, is_buy)
        come = accounts.Change(target, stake.token, quantity, value, is_buy)
        self._books.add_conversion(investor.id, [gone, come])

    def _take(self, investor: Investor, form: PlaceForm, item: object, at: datetime) -> Order:
        switches = self._books.switches.of(investor.id)
        identity = placed_identity(self._books.numbers.next(at), investor.id, form.model_dump(by_alias=True), at)
        shown_at = at + timedelta(seconds=switches.shown_after_seconds or 0)
        order = Order(identity, form, at, shown_at, remarks=form.remarks, item=item)
        reason = self._shortfall(investor, order, order.terms, at)
        self._books.add(investor.id, order)
        order.move(PENDING, "NewAck", at)
        if switches.reject_next:
            self._books.switches.use_up(investor.id, "reject_next")
            due_at = at + timedelta(seconds=switches.reject_next.after_seconds)
            self._books.reject_later(order, switches.reject_next.reason, due_at)
            order.reject_if_due(at)
        elif reason:
            order.reject(reason, at)
        elif form.order_type == "AMO":
            order.move(AMO_RECEIVED, "AMO received", at)
        else:
            order.open("New", at)
            self._books.match(investor.id, [order], at)
        return order

    def _shortfall(self, investor: Investor, order: Order, terms: Terms, at: datetime) -> str | None:
        """Return the risk system's words where the funds are not enough for an order under these terms."""
        market = self._books.market
        freed = Decimal(0) if terms is order.terms else accounts.bound(order, order.terms, market)
        needed, available = accounts.bound(order, terms, market), self._books.available(investor, at) + freed
        if needed == 0 or needed <= available:
            return None
        return (
            f"RED:Margin Shortfall:INR {needed - available:,.2f} Available:INR {available:,.2f} "
            f"for C-{investor.id} [{order.identity['exchange']}]"
        )

    def _order(self, investor: Investor, order_no: str, at: datetime) -> Order:
        found = next((each for each in self._books.of(investor.id, at) if each.number == order_no), None)
        if found is None:
            raise Refusal("ORA:order not found")
        return found

    def _refuse_if_told(self, investor: Investor) -> None:
        words = self._books.switches.of(investor.id).refuse_next
        if words:
            self._books.switches.use_up(investor.id, "refuse_next")
            raise Refusal(words)


def _refuse_exchange(investor: Investor, exchange: str) -> None:
    if exchange not in investor.exchanges:
        raise Refusal(f"RED:Exchange {exchange} is not enabled for {investor.id}")


def _cut(quantity: int, freeze: int | None) -> Iterator[int]:
    """Cut a quantity into slices of at most what the exchange takes at once."""
    size = freeze or quantity
    while quantity > 0:
        yield min(size, quantity)
        quantity -= size
