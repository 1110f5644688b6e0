"""Prices, and what an order does when it meets one; nothing moves unless it is told to (contract §4)."""

import random
from datetime import datetime
from decimal import Decimal

from simulator.orders import OPEN, TRIGGER_PENDING, Order

_SEEDED = (
    "IDEA-EQ:14.20 TATASTEEL-EQ:142.55 HDFCBANK-EQ:1645.20 INFY-EQ:1482.50 SBIN-EQ:818.40 ITC-EQ:407.30 "
    "RELIANCE-EQ:1390.00 TCS-EQ:3120.00 WIPRO-EQ:248.65 IDEA:14.20 TATASTEEL:142.50 HDFCBANK:1645.00 INFY:1482.00 "
    "SBIN:818.20 ITC:407.25 NIFTY29DEC26F:26110.00 NIFTY26DEC26000CE:198.20 JPYINR29DEC26F:61.6750 "
    "USDINR29DEC26F:88.4250 SILVERM26NOVFUT:152000.00"
)
_DEFAULT = Decimal("100.00")
_TICK = Decimal("0.05")
_LARGEST_MOVE = 0.002  # of the price, each second


class Market:
    """One price per trading symbol."""

    def __init__(self) -> None:
        pairs = (pair.split(":") for pair in _SEEDED.split())
        self.prices = {symbol: Decimal(price) for symbol, price in pairs}
        self.is_moving = False
        self._chance = random.Random(1)  # noqa: S311  # the same walk in every run

    def price(self, symbol: str) -> Decimal:
        return self.prices.get(symbol, _DEFAULT)

    def move(self) -> None:
        """Let every price go a little, up or down."""
        for symbol, price in self.prices.items():
            step = price * Decimal(self._chance.uniform(-_LARGEST_MOVE, _LARGEST_MOVE))
            ticks = round((price + step) / _TICK)
            self.prices[symbol] = max(_TICK, ticks * _TICK)

    def meet(self, order: Order, at_most: int | None, at: datetime) -> None:
        """Let an order meet its price: it triggers, fills as far as it may, and is gone if it can't wait."""
        price = self.price(order.symbol)
        if order.status == TRIGGER_PENDING and _reaches_trigger(order, price):
            order.is_triggered = True
            order.open("Triggered", at)
        if order.status == OPEN and _accepts(order, price):
            order.fill(min(order.open_quantity, at_most or order.open_quantity), price, at)
        if order.status == OPEN and order.terms.ret == "IOC":
            order.cancel(at)


def _reaches_trigger(order: Order, price: Decimal) -> bool:
    return price >= order.terms.trigger if order.is_buy else price <= order.terms.trigger


def _accepts(order: Order, price: Decimal) -> bool:
    if order.terms.is_at_market:
        return True
    return price <= order.terms.limit if order.is_buy else price >= order.terms.limit
