"""What the broker answers when nothing is wrong, in each of the shapes that its documents and clients show."""

from collections.abc import Callable

from simulator.investors import Fields, Investor


def ok(result: object, *, message: str = "Success") -> Fields:
    return {"status": "Ok", "message": message, "result": result}


def nothing(words: str, *, status: str = "Not ok") -> Fields:
    return {"status": status, "message": words, "result": []}


def profile(investor: Investor) -> Fields:
    """Answer with personal data unmasked, so that whoever forgets to mask it is found out."""
    return ok([{
        "userId": investor.id, "actId": investor.id, "clientName": investor.name, "actStatus": "Activated",
        "createdDate": "1648275191", "createdTime": "0", "mobNo": "9876543210",
        "email": f"{investor.name.split()[0].lower()}.investor@mail.example", "pan": "ABCPM1234K",
        "address": "12 Marine Lines", "officeAddress": "NTC", "city": "", "state": "", "mandateIdList": [],
        "exchange": list(investor.exchanges), "bankdetails": None,
        "dpAccountNumber": [{"dpAccountNumber": "1208870012345678"}],
        "orders": ["MKT", "LMT", "SL-LMT", "SL-MKT", "DS"],
        "branchId": "FLMK", "brokerName": "SKY", "products": ["C", "M", "I", "H", "B"],
        "productTypes": ["CNC", "NRML", "MIS", "Cover", "Bracket"], "orderTypes": None,
        "priceTypes": ["MKT", "L", "SL", "SL-M"],
    }])  # fmt: skip


def funds(investor: Investor) -> Fields:
    return ok([{
        "availableMargin": round(investor.opening_balance - investor.margin_used, 2),
        "openingBalance": investor.opening_balance, "marginUsed": investor.margin_used,
        "payin": 0.0, "stockPledge": 0.0, "holdingSellCredit": 0.0,
        "brokerage": 0.0, "exposure": 0.0, "span": 0.0, "premium": 0.0,
        "unclearedCash": max(-investor.opening_balance, 0.0), "payout": 0.0,
    }])  # fmt: skip


def feed_key(investor: Investor) -> Fields:
    return ok([{"userId": investor.id, "key": f"oms-{investor.id.lower()}"}])


def holdings(investor: Investor) -> Fields:
    if not investor.holdings:
        return nothing("No records are found")
    return ok([{"poa": False, "product": "CNC", "holdings": investor.holdings}])


def holdings_of_2023(investor: Investor) -> Fields:
    """Answer in the obsolete shape: one group per holding, listings under another name."""
    return ok([{"stat": "Ok", "poaStatus": 0, "holdingVal": _holding_of_2023(each)} for each in investor.holdings])


def holdings_of_jainam(investor: Investor) -> Fields:
    """Answer as a broker of the same family does: no product, and `poaStatus` beside `stat`."""
    answer = ok(
        [{"stat": "Ok", "poaStatus": 0, "holdings": [each | {"sellAmount": None} for each in investor.holdings]}]
    )
    return answer | {"infoMessage": None}


def positions(investor: Investor) -> Fields:
    return ok(investor.positions, message="success") if investor.positions else nothing("No record found")


def order_book(investor: Investor) -> Fields:
    return ok(investor.orders) if investor.orders else nothing("no data", status="Ok")


def order_book_of_2023(investor: Investor) -> Fields:
    later = {"snoOrderNumber", "snoFillid"}
    return ok([{name: each[name] for name in each if name not in later} for each in investor.orders])


def order_book_row_without_number(investor: Investor) -> Fields:
    if not investor.orders:
        return order_book(investor)
    last = {name: value for name, value in investor.orders[-1].items() if name != "orderNo"}
    return ok([*investor.orders[:-1], last])


def order_book_as_object(investor: Investor) -> Fields:
    return ok(investor.orders[0]) if investor.orders else order_book(investor)


def order_book_in_capitals(investor: Investor) -> Fields:
    return ok([{name.upper(): value for name, value in each.items()} for each in investor.orders])


def trade_book(investor: Investor) -> Fields:
    return ok(investor.trades) if investor.trades else nothing("no data")


def order_history(investor: Investor, order_no: str) -> Fields:
    steps = investor.histories.get(order_no)
    return ok(steps) if steps else nothing("no data")


def order_history_in_raw_codes(investor: Investor, order_no: str) -> Fields:
    """Answer with the order system's own codes, as the page of 2023 shows."""
    answer = order_history(investor, order_no)
    codes = {"L": "LMT", "SL": "SL-LMT", "MIS": "I", "CNC": "C", "NRML": "M"}
    rows = answer["result"] if isinstance(answer["result"], list) else []
    raw = [{name: codes.get(str(value), value) for name, value in row.items() if name != "orderType"} for row in rows]
    return answer | {"result": raw}


Shape = Callable[[Investor], Fields]

SHAPES: dict[str, dict[str, Shape]] = {
    "profile": {"current": profile},
    "getUser": {"current": feed_key},
    "funds": {"current": funds},
    "holdings": {"current": holdings, "2023": holdings_of_2023, "jainam": holdings_of_jainam},
    "positions": {"current": positions},
    "orderBook": {
        "current": order_book,
        "2023": order_book_of_2023,
        "rowWithoutOrderNo": order_book_row_without_number,
        "object": order_book_as_object,
        "upperCaseKeys": order_book_in_capitals,
    },
    "tradeBook": {"current": trade_book},
}
"""Per call, the shapes of its answer; `listOfEnvelopes` goes with any of them."""

HISTORY_SHAPES: dict[str, Callable[[Investor, str], Fields]] = {
    "current": order_history,
    "2023RawCodes": order_history_in_raw_codes,
}

LIST_OF_ENVELOPES = "listOfEnvelopes"


def exchange(shape: str, token: str, client_id: str | None) -> Fields:
    """Answer an exchange in one of its three documented shapes."""
    who: Fields = {"clientId": client_id} if client_id is not None else {}
    if shape == "accessToken":
        return ok([{"accessToken": token} | who])
    if shape == "resultUserSession":
        return ok([{"userSession": token}])
    return {"stat": "Ok"} | who | {"userSession": token}


EXCHANGE_SHAPES = ("userSession", "accessToken", "resultUserSession")


SHAPES_OF_ACTS: dict[str, tuple[str, ...]] = {
    "place": ("current", "2023", "envelopePerSlice"),
    "modify": ("current", LIST_OF_ENVELOPES),
    "cancel": ("current", "object"),
    "margin": ("current", LIST_OF_ENVELOPES),
    "convert": ("current", LIST_OF_ENVELOPES),
    "subscribe": ("current", LIST_OF_ENVELOPES),
    "unsubscribe": ("current", LIST_OF_ENVELOPES),
}


def shape_names(call: str) -> tuple[str, ...]:
    """Return the shapes that a call can be switched to, the default first."""
    if call == "exchange":
        return EXCHANGE_SHAPES
    if call in SHAPES_OF_ACTS:
        return SHAPES_OF_ACTS[call]
    known = HISTORY_SHAPES if call == "orderHistory" else SHAPES[call]
    return (*known, LIST_OF_ENVELOPES)


def _holding_of_2023(holding: Fields) -> Fields:
    listed = holding["symbol"] if isinstance(holding["symbol"], list) else []
    return {
        "isin": holding["isin"], "buyPrice": holding["buyPrice"], "totalQty": int(str(holding["netQty"])),
        "usedQty": "0", "sellableQty": int(str(holding["sellableQty"])), "colQty": None, "btstQty": "0",
        "authQty": 0, "authFlag": False, "authDate": "",
        "netPnl": holding["netPnl"], "soldValue": "0.000000", "benQty": None, "unpledgedQty": None,
        "tmColQty": None, "dpQty": None, "pledgeQty": 0, "dayPnl": 0, "ltp": listed[0]["ltp"], "nonPoaQty": 3,
        "exDetails": [{"symbol": each["tradingSymbol"], "exchange": each["exchange"], "token": each["token"],
                       "previousClose": each["pdc"]} for each in listed],
    }  # fmt: skip
