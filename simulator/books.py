"""Everybody's orders and what follows from them; what is due by the time of a look has happened by then."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from simulator import accounts
from simulator.clock import IST
from simulator.investors import Fields, Investor
from simulator.market import Market
from simulator.order_switches import OrderSwitches
from simulator.orders import AMO_RECEIVED, OPEN, PENDING, TRIGGER_PENDING, Observer, Order, seeded_order
from simulator.switchboard import EVERYBODY, Switchboard


class OrderNumbers:
    """Numbers that no order of anybody had before, not even before a reset, or a restart on the same day."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, at: datetime) -> str:
        """Return yyMMdd and eight digits (contract §4): how late it is, or one more than the last."""
        local = at.astimezone(IST)
        since_midnight = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
        self._last = max(self._last + 1, int(f"{local:%y%m%d}{since_midnight // timedelta(milliseconds=1):08d}"))
        return str(self._last)


class Books:
    """The order books, the market they meet, and the switches that they are kept by.

    Every order in them, those of the seed included, tells the one `observer` of each of its steps.
    """

    def __init__(
        self, investors: Iterable[Investor], numbers: OrderNumbers, at: datetime, observer: Observer
    ) -> None:  # fmt: skip
        self.numbers = numbers
        self.market = Market()
        self.switches = Switchboard(OrderSwitches)
        self._observer = observer
        self._rejected_later: list[Order] = []
        self._taken: list[Order] = []
        self._books: dict[str, list[Order]] = {}
        self._conversions: dict[str, list[accounts.Change]] = {}
        self._exchanges: dict[str, str] = {}
        for each in investors:
            self.open_for(each, at)

    def open_for(self, investor: Investor, at: datetime) -> None:
        """Give an investor a book, with the orders of his seed."""
        book = self._books[investor.id] = [seeded_order(row, investor.trades, at) for row in investor.orders]
        self._exchanges |= {order.number: order.exchange for order in book}
        for order in book:
            order.observer = self._observer

    def add(self, user_id: str, order: Order) -> None:
        order.observer = self._observer
        self._taken.append(order)
        self._books[user_id].append(order)
        self._exchanges[order.number] = order.exchange

    def reject_later(self, order: Order, reason: str, due_at: datetime) -> None:
        """Let an order be rejected once its time has come, unless it is final before."""
        order.late_rejection = (due_at, reason)
        self._rejected_later.append(order)

    def reject_due(self, at: datetime) -> None:
        """Let happen by itself what is due, also where nobody looks."""
        for order in self._rejected_later:
            order.reject_if_due(at)
        self._rejected_later = [order for order in self._rejected_later if order.late_rejection]

    def add_conversion(self, user_id: str, changes: Iterable[accounts.Change]) -> None:
        self._conversions.setdefault(user_id, []).extend(changes)

    def of(self, user_id: str, at: datetime) -> list[Order]:
        """Return the orders of an investor, the oldest first."""
        book = self._books[user_id]
        for order in book:
            order.reject_if_due(at)
        return book

    def exchange_of(self, order_no: str) -> str | None:
        """Return where an order of anybody was sent, none for one that there is not."""
        return self._exchanges.get(order_no)

    def taken(self, at: datetime) -> list[Order]:
        """Return every order that was taken since the seed, in the order of receipt."""
        for order in self._taken:
            order.reject_if_due(at)
        return self._taken

    def changes(self, user_id: str, at: datetime) -> list[accounts.Change]:
        return [*accounts.changes_of(self.of(user_id, at)), *self._conversions.get(user_id, [])]

    def margin_used(self, investor: Investor, at: datetime) -> Decimal:
        return accounts.margin_used(investor, self.of(investor.id, at), self.market)

    def available(self, investor: Investor, at: datetime) -> Decimal:
        return Decimal(str(investor.opening_balance)) - self.margin_used(investor, at)

    def seen_by(self, investor: Investor, at: datetime) -> Investor:
        """Return an investor as his reads show him now."""
        switches = self.switches.of(investor.id)
        shown = [order for order in self.of(investor.id, at) if order.shown_at <= at]
        rows = [order.row() | _echo_in_book(order, switches) for order in shown]
        if switches.book_without_order_no and rows:
            rows[-1] = {name: value for name, value in rows[-1].items() if name != "orderNo"}
        return replace(
            investor, orders=rows, trades=[trade for order in shown for trade in order.trades],
            histories={order.number: _history(order, switches) for order in shown},
            positions=accounts.positions(investor, self.changes(investor.id, at), self.market),
            margin_used=float(self.margin_used(investor, at)),
        )  # fmt: skip

    def clear_switches(self, user_id: str) -> None:
        """Put an investor's switches back, and show his orders that were to be shown later."""
        self.switches.clear(user_id)
        for order in self._taken:
            if user_id in (EVERYBODY, order.identity["userId"]):
                order.shown_at = order.taken_at

    def match(self, user_id: str, orders: Iterable[Order], at: datetime) -> None:
        """Let orders of an investor meet their prices."""
        at_most = self.switches.of(user_id).fill_at_most
        for order in orders:
            self.market.meet(order, at_most, at)

    def set_prices(self, prices: dict[str, Decimal], at: datetime) -> None:
        """Set prices, and let every order that they are about meet them."""
        self.market.prices.update(prices)
        for user_id, book in self._everybody(at):
            self.match(user_id, [order for order in book if order.symbol in prices], at)

    def move_prices(self, at: datetime) -> None:
        """Let the prices go a little, and every order meet them."""
        self.market.move()
        for user_id, book in self._everybody(at):
            self.match(user_id, book, at)

    def open_market(self, at: datetime) -> None:
        """Send what was received after the market to the exchange."""
        for user_id, book in self._everybody(at):
            received = [order for order in book if order.status == AMO_RECEIVED]
            for order in received:
                order.open("New", at)
            self.match(user_id, received, at)

    def end_day(self, at: datetime) -> None:
        """Cancel what was good for the day only; what waits for the next opening stays."""
        for _, book in self._everybody(at):
            for order in book:
                if order.status in {PENDING, OPEN, TRIGGER_PENDING} and order.terms.ret == "DAY":
                    order.cancel(at)

    def _everybody(self, at: datetime) -> Iterator[tuple[str, list[Order]]]:
        return ((user_id, self.of(user_id, at)) for user_id in self._books)


def _echo_in_book(order: Order, switches: OrderSwitches) -> Fields:
    return {"remarks": order.remarks or None} if switches.remarks_in == "book" else {}


def _history(order: Order, switches: OrderSwitches) -> list[Fields]:
    """Return the steps of an order, the newest first; the broker's samples have the key even where it is null."""
    remarks = None if switches.remarks_in == "nowhere" else order.remarks or None
    return [step | {"remarks": remarks} for step in reversed(order.steps)]
