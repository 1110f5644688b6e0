"""What fills and open orders do to an investor's funds and positions: roughly, and always to the same effect."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from simulator.investors import Fields, Investor
from simulator.market import Market
from simulator.order_forms import Terms
from simulator.orders import Order, written

RAW_PRODUCT = {"CNC": "C", "MIS": "I", "NRML": "M", "MTF": "F"}
"""Positions name a product by the order system's own letter (contract §4)."""

Key = tuple[str, str, str]  # exchange, trading symbol, raw product


@dataclass(frozen=True)
class Stake:
    """What was bought and sold of one thing under one product."""

    token: str | None = None
    bought: int = 0
    paid: Decimal = Decimal(0)
    sold: int = 0
    earned: Decimal = Decimal(0)

    @property
    def net(self) -> int:
        return self.bought - self.sold

    def plus(self, quantity: int, value: Decimal, *, is_buy: bool) -> "Stake":
        if is_buy:
            return replace(self, bought=self.bought + quantity, paid=self.paid + value)
        return replace(self, sold=self.sold + quantity, earned=self.earned + value)


@dataclass(frozen=True)
class Change:
    """One entry that changes a stake: a fill, or one half of a conversion."""

    key: Key
    token: str | None
    quantity: int
    value: Decimal
    is_buy: bool


def changes_of(orders: Iterable[Order]) -> list[Change]:
    """Return what the fills since the seed have changed."""
    return [
        Change(_key(order), _text(order.identity["token"]), fill.quantity, fill.quantity * fill.price, order.is_buy)
        for order in orders
        for fill in order.fills
    ]


def stakes(investor: Investor, changes: Iterable[Change]) -> dict[Key, Stake]:
    """Return the stakes of an investor, those of his seed included."""
    found = {_key_of_row(row): _seeded_stake(row) for row in investor.positions}
    for each in changes:
        before = found.get(each.key, Stake(each.token))
        found[each.key] = before.plus(each.quantity, each.value, is_buy=each.is_buy)
    return found


def positions(investor: Investor, changes: list[Change], market: Market) -> list[Fields]:
    """Return the position rows; a row of the seed that nothing has changed stays as it is."""
    seeded = {_key_of_row(row): row for row in investor.positions}
    changed = {each.key for each in changes}
    return [
        _row(key, stake, seeded.get(key, {}), market.price(key[1])) if key in changed else seeded[key]
        for key, stake in stakes(investor, changes).items()
    ]


def margin_used(investor: Investor, orders: Iterable[Order], market: Market) -> Decimal:
    """Return what is bound: the seed's own, open buys, and what was bought and not sold again."""
    placed = [order for order in orders if not order.is_seeded]
    waiting = sum((bound(order, order.terms, market) for order in placed), Decimal(0))
    held: dict[Key, Decimal] = {}
    for each in changes_of(placed):
        held[each.key] = held.get(each.key, Decimal(0)) + (each.value if each.is_buy else -each.value)
    bought = sum((max(value, Decimal(0)) for value in held.values()), Decimal(0))
    return Decimal(str(investor.margin_used)) + waiting + bought


def bound(order: Order, terms: Terms, market: Market) -> Decimal:
    """Return what an order would bind under these terms while it waits: nothing where it sells, or waits no more."""
    if order.is_final or not order.is_buy:
        return Decimal(0)
    price = terms.limit or terms.trigger or market.price(order.symbol)
    return (terms.quantity - order.filled) * price


def _row(key: Key, stake: Stake, before: Fields, last: Decimal) -> Fields:
    exchange, symbol, product = key
    buy = stake.paid / stake.bought if stake.bought else Decimal(0)
    sell = stake.earned / stake.sold if stake.sold else Decimal(0)
    closed = min(stake.bought, stake.sold)
    realised, average = closed * (sell - buy), buy if stake.net > 0 else sell if stake.net < 0 else Decimal(0)
    unrealised = stake.net * (last - average)
    return {
        "formattedInsName": symbol, "tradingSymbol": symbol, "exchange": exchange,
        "segment": f"{exchange.lower()}_{'cm' if exchange in {'NSE', 'BSE'} else 'fo'}",
        "token": stake.token, "product": product, "pdc": written(last), "multiplier": "1",
        "lotSize": None, "tickSize": None,
    } | before | {
        "netQty": str(stake.net), "netBuyQty": str(stake.bought), "netBuyAvgPrice": written(buy),
        "netBuyAvg": written(buy) if stake.bought else "NaN", "netBuyValue": written(stake.paid),
        "netSellQty": str(stake.sold), "netSellAvgPrice": written(sell),
        "netSellAvg": written(sell) if stake.sold else "NaN", "netSellValue": written(stake.earned),
        "averagePrice": written(average), "ltp": written(last), "pnl": written(realised + unrealised), "mtm": "",
        "realizedpnl": written(realised), "unrealizedpnl": written(unrealised),
    }  # fmt: skip


def _key(order: Order) -> Key:
    product = str(order.identity["product"])
    return str(order.identity["exchange"]), order.symbol, RAW_PRODUCT.get(product, product)


def _key_of_row(row: Fields) -> Key:
    return str(row["exchange"]), str(row["tradingSymbol"]), str(row["product"])


def _seeded_stake(row: Fields) -> Stake:
    bought, sold = int(str(row["netBuyQty"])), int(str(row["netSellQty"]))
    paid, earned = Decimal(str(row["netBuyAvgPrice"])), Decimal(str(row["netSellAvgPrice"]))
    return Stake(_text(row["token"]), bought, bought * paid, sold, sold * earned)


def _text(token: object) -> str | None:
    return None if token is None else str(token)
