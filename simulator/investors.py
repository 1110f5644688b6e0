"""The investors of the simulated broker and what they own; everything is fictional and the same in every run."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from simulator.clock import IST

Fields = dict[str, object]


@dataclass(frozen=True)
class Investor:
    """One client of the broker; `sso_id` is how the callback spells his id."""

    id: str
    sso_id: str
    name: str
    about: str
    opening_balance: float = 0.0
    margin_used: float = 0.0
    holdings: list[Fields] = field(default_factory=list)
    positions: list[Fields] = field(default_factory=list)
    orders: list[Fields] = field(default_factory=list)
    trades: list[Fields] = field(default_factory=list)
    histories: dict[str, list[Fields]] = field(default_factory=dict)
    exchanges: tuple[str, ...] = ("NSE", "BSE")
    password: str = "demo"  # noqa: S105  # printed on the login page


def seeded(now: datetime) -> dict[str, Investor]:
    """Return the investors by id, their orders dated today."""
    today = now.astimezone(IST)
    everybody = [_equity(today), _derivatives(today), _empty(), _indebted(), _lower_case()]
    return {investor.id: investor for investor in everybody}


def another(model: Investor, user_id: str) -> Investor:
    """Return somebody who owns the same under an id of his own, which the callback spells as it is."""
    own: Fields = {"userId": user_id, "actId": user_id}
    return replace(
        model, id=user_id, sso_id=user_id, about=f"Like {model.id}",
        orders=[row | own for row in model.orders], trades=[row | own for row in model.trades],
    )  # fmt: skip


def _equity(today: datetime) -> Investor:
    book = _Book("AB1234", today)
    book.add("IDEA-EQ", "14366", "B", 100, "14.10", product="CNC", status="OPEN", filled=40, average="14.10")
    book.add("TATASTEEL-EQ", "3499", "B", 20, "142.55", product="CNC", status="COMPLETE", filled=20, average="142.50")
    book.add("INFY-EQ", "1594", "S", 5, "0.00", product="MIS", kind="MKT", status="REJECTED",
             reason="RED:Margin Shortfall:INR 7,412.40 Available:INR 5,120.75 for C-AB1234 [NSE]")  # fmt: skip
    book.add("SBIN-EQ", "3045", "S", 10, "812.00", product="CNC", kind="SL", trigger="813.50", status="TRIGGER_PENDING")
    book.add("ITC-EQ", "1660", "B", 15, "405.00", product="CNC", status="CANCELED")
    book.add("HDFCBANK-EQ", "1333", "B", 2, "1640.00", product="CNC", variety="AMO", status="AMO received")
    return Investor(
        id="AB1234", sso_id="AB1234", name="Asha Menon", about="Equity: holdings, orders of every kind, trades",
        opening_balance=25_000.5, margin_used=3_970.0, orders=book.orders, trades=book.trades,
        holdings=[
            _holding("INE669E01016", "30", "21.82", "-236.09999", [("NSE", "14366", "IDEA-EQ", "13.95", "13.95"),
                                                             ("NFO", "532822", "IDEA", "0", "0")]),
            _holding("INE081A01020", "120", "118.40", "2898.00", [("BSE", "500470", "TATASTEEL", "141.90", "142.55"),
                                                                  ("NSE", "3499", "TATASTEEL-EQ", "141.95", "142.55")]),
            _holding("INE040A01034", "8", "1512.25", "1018.00", [("NSE", "1333", "HDFCBANK-EQ", "1645.20", "1639.50")]),
        ],
        positions=[_position("TATASTEEL-EQ", "NSE", "3499", "C", bought=20, buy="142.50", last="142.55", pnl="1.00")],
    )  # fmt: skip


def _derivatives(today: datetime) -> Investor:
    book = _Book("FO5678", today)
    book.add("NIFTY26DEC26000CE", "54957", "S", 150, "210.40", exchange="NFO", product="NRML", status="COMPLETE",
             filled=150, average="210.55")  # fmt: skip
    return Investor(
        id="FO5678", sso_id="FO5678", name="Farhan Qureshi", about="Futures and options: NaN, blanks and nulls",
        opening_balance=410_000.0, margin_used=288_412.35, orders=book.orders, trades=book.trades,
        exchanges=("NSE", "NFO", "CDS", "MCX"),
        positions=[
            _position("NIFTY26DEC26000CE", "NFO", "54957", "M", sold=150, sell="210.55", last="198.20", pnl="1852.50",
                      lot="75"),
            _position("JPYINR29DEC26F", "CDS", "11771", "M", sold=2, sell="63.5675", last="61.6750", pnl="3785.00",
                      multiplier="1000"),
            _position("SILVERM26NOVFUT", "MCX", "239484", "I", last="NaN", pnl=""),
        ],
    )  # fmt: skip


def _empty() -> Investor:
    return Investor(id="EMPTY01", sso_id="EMPTY01", name="Esha Rao", about="A new account with nothing in it")


def _indebted() -> Investor:
    return Investor(
        id="NEG0042", sso_id="NEG0042", name="Nikhil Shah", about="A negative opening balance", opening_balance=-304.0
    )


def _lower_case() -> Investor:
    return Investor(
        id="MIXED77", sso_id="mixed77", name="Mira Dutta", about="His id comes back from the login in lower case",
        opening_balance=1_000.0,
    )  # fmt: skip


class _Book:
    """Writes an investor's orders and the trades that belong to them, a minute apart."""

    def __init__(self, user_id: str, today: datetime) -> None:
        self._user_id = user_id
        self._today = today.replace(hour=9, minute=20, second=5)
        self.orders: list[Fields] = []
        self.trades: list[Fields] = []

    def add(  # noqa: PLR0913  # an order has that many sides
        self, symbol: str, token: str, side: str, quantity: int, price: str, *, product: str, status: str,
        exchange: str = "NSE", kind: str = "L", variety: str = "Regular", filled: int = 0, average: str | None = None,
        trigger: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        number = len(self.orders) + 1
        at = self._today.replace(minute=self._today.minute + number)
        order_no = f"{at:%y%m%d}{number:08d}"
        placed = {"orderNo": order_no, "userId": self._user_id, "actId": self._user_id, "exchange": exchange,
                  "tradingSymbol": symbol, "transType": side, "ret": "DAY", "token": token, "product": product,
                  "priceType": kind, "orderType": variety}  # fmt: skip
        self.orders.append(placed | {
            "qty": str(quantity), "multiplier": "1", "lotSize": "1", "tickSize": "0.05", "price": price,
            "avgTradePrice": average, "disclosedQty": "0", "orderStatus": status, "fillShares": str(filled),
            "exchUpdateTime": None, "exchOrderId": f"11000000{number:08d}" if filled else None,
            "formattedInsName": symbol, "ltp": None, "rejectedReason": reason, "triggerPrice": trigger,
            "mktProtection": None, "target": None, "stopLoss": None, "trailingPrice": None, "snoOrderNumber": None,
            "snoFillid": None, "orderTime": f"{at:%H:%M:%S %d-%m-%Y}", "rprice": "0.00", "rqty": "0",
        })  # fmt: skip
        if filled:
            self.trades.append(placed | {
                "fillId": f"7968{number:04d}", "fillTime": f"{at:%d-%m-%Y %H:%M:%S}", "qty": str(quantity),
                "fillshares": str(filled), "fillqty": str(filled), "pricePrecision": "2", "lotSize": "1",
                "tickSize": "0.05", "price": price, "prcftr": "1.000000", "fillprc": average,
                "exchUpdateTime": f"{at:%d-%m-%Y %H:%M:%S}", "exchOrderId": f"11000000{number:08d}",
                "formattedInsName": symbol, "ltp": None, "orderTime": f"{at:%H:%M:%S %d-%m-%Y}",
            })  # fmt: skip


def _holding(isin: str, quantity: str, price: str, pnl: str, listed: list[tuple[str, str, str, str, str]]) -> Fields:
    return {
        "isin": isin, "realizedPnl": "0.0", "unrealizedPnl": pnl, "netPnl": pnl, "netQty": quantity, "buyPrice": price,
        "holdQty": quantity, "dpQty": "0", "benQty": "0", "unpledgedQty": "0", "collateralQty": "0", "brkCollQty": "0",
        "btstQty": "0", "usedQty": "0", "tradedQty": "0", "sellableQty": quantity, "authQty": "0", "sellAmount": "0.0",
        "authFlag": False,
        "symbol": [{"exchange": exchange, "token": token, "tradingSymbol": symbol, "pdc": close, "ltp": last}
                   for exchange, token, symbol, close, last in listed],
    }  # fmt: skip


def _position(  # noqa: PLR0913  # a position has that many sides
    symbol: str, exchange: str, token: str, product: str, *, bought: int = 0, buy: str = "0.0", sold: int = 0,
    sell: str = "0.0", last: str, pnl: str, multiplier: str = "1", lot: str | None = None,
) -> Fields:  # fmt: skip
    return {
        "formattedInsName": symbol, "tradingSymbol": symbol, "exchange": exchange, "segment": f"{exchange.lower()}_fo",
        "token": token, "product": product, "netQty": str(bought - sold), "netBuyQty": str(bought),
        "netBuyAvgPrice": buy, "netBuyAvg": buy if bought else "NaN", "netBuyValue": "0.0", "netSellQty": str(sold),
        "netSellAvgPrice": sell, "netSellAvg": sell if sold else "NaN", "netSellValue": "0.0",
        "averagePrice": buy if bought else sell, "ltp": last, "pnl": "0.00", "mtm": "", "pdc": last,
        "realizedpnl": "0.0", "unrealizedpnl": pnl, "multiplier": multiplier, "lotSize": lot, "tickSize": None,
    }  # fmt: skip
