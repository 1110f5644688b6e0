"""What the stand-in broker answers: the broker's own forms (tests/samples), for as many users as a run needs."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

_STATUSES = ("COMPLETE", "COMPLETE", "OPEN", "REJECTED", "COMPLETE", "CANCELLED")
_SYMBOLS = ("IDEA-EQ", "ZOMATO-EQ", "NIFTYQLITY-EQ", "SBIN-EQ", "YESBANK-EQ", "ITC-EQ")
_TOKEN_LENGTH = 1200  # characters; the broker's have one to two thousand

Row = dict[str, str | None]


def lean_row(number: int, today: datetime) -> Row:
    """Return a row of the order book with the fields that say something; six of them make a book of 1.6 kB."""
    status = _STATUSES[number % len(_STATUSES)]
    return {
        "orderNo": f"{today:%y%m%d}{number + 3840:08}",
        "exchange": "NSE",
        "tradingSymbol": _SYMBOLS[number % len(_SYMBOLS)],
        "qty": "10",
        "transType": "BS"[number % 2],
        "ret": "DAY",
        "price": "14.10",
        "product": "MIS" if number % 3 else "CNC",
        "priceType": "L",
        "orderType": "Regular",
        "orderStatus": status,
        "fillShares": "10" if status == "COMPLETE" else "0",
        "orderTime": f"09:{15 + number % 40:02}:07 {today:%d-%m-%Y}",
    }


def whole_row(number: int, today: datetime, user_id: str) -> Row:
    """Return a row with every field that the broker's samples have."""
    lean = lean_row(number, today)
    is_filled, is_rejected = lean["orderStatus"] == "COMPLETE", lean["orderStatus"] == "REJECTED"
    return lean | {
        "userId": user_id,
        "actId": user_id,
        "token": "14366",
        "multiplier": "1",
        "lotSize": "1",
        "tickSize": "0.05",
        "avgTradePrice": "14.05" if is_filled else None,
        "disclosedQty": "0",
        "exchUpdateTime": lean["orderTime"],
        "exchOrderId": None if is_rejected else f"11{number:014}",
        "formattedInsName": lean["tradingSymbol"],
        "ltp": None,
        "rejectedReason": "RED:Margin Shortfall:INR 3.10 Available:INR 0.00" if is_rejected else None,
        "triggerPrice": None,
        "mktProtection": None,
        "target": None,
        "stopLoss": None,
        "trailingPrice": None,
        "snoOrderNumber": None,
        "snoFillid": None,
        "rprice": "0.00",
        "rqty": "0",
    }


def ok(result: Iterable[Any]) -> str:
    """Return the envelope of a success, as compact as a server writes it."""
    return _written({"status": "Ok", "message": "Success", "result": list(result)})


def placed(order_no: str, today: datetime) -> str:
    """Return the answer to a placed order, a list of one envelope."""
    row = {"requestTime": f"{today:%H:%M:%S %d-%m-%Y}", "orderNo": order_no}
    return _written([{"status": "Ok", "message": "Success", "result": [row]}])


def nothing() -> str:
    """Return the answer of a history that is empty."""
    return _written({"status": "Not ok", "message": "no data", "result": []})


def logged_in(user_id: str) -> str:
    """Return the answer to an exchange that names the client."""
    return _written({"stat": "Ok", "clientId": user_id, "userSession": token_of(user_id)})


def profile(user_id: str) -> str:
    """Return what the broker says of a client."""
    return ok([{
        "userId": user_id, "actId": user_id, "clientName": "Asha Menon", "actStatus": "Activated",
        "exchange": ["NSE", "BSE"], "products": ["CNC", "MIS"], "productTypes": ["CNC", "MIS"],
    }])  # fmt: skip


def token_of(user_id: str) -> str:
    """Return the broker's token of a user; what stands before its point says whose it is."""
    return f"{user_id}.{'x' * (_TOKEN_LENGTH - len(user_id) - 1)}"


def _written(answer: object) -> str:
    return json.dumps(answer, separators=(",", ":"))
