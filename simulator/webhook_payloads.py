"""What is posted to a vendor about an order: in Noren's names, in those of the older page, in part, or made up."""

import hashlib
from datetime import datetime

from simulator.accounts import RAW_PRODUCT
from simulator.clock import IST, date_first, time_first
from simulator.investors import Fields
from simulator.orders import AMO_CANCELLED, CANCELED, COMPLETE, FINAL, REJECTED, Order, written
from simulator.webhook_switches import WebhookSwitches

_BLANK: Fields = dict.fromkeys(
    "norenordno actid exch tsym qty prc prd status reporttype trantype prctyp ret fillshares avgprc fltm flid flqty "
    "flprc rejreason exchordid cancelqty remarks dscqty trgprc snonum snoordt blprc bpprc trailprc exch_tm amo tm ntm "
    "kidid sno_fillid pcode".split(),
    "",
)
"""Noren's names; all of them always come, empty where there is nothing to say."""

_PRICE_TYPES = {"L": "LMT", "MKT": "MKT", "SL": "SL-LMT", "SL-M": "SL-MKT"}
_OLDER_PRICE_TYPES = {"L": "LIMIT", "MKT": "MARKET", "SL": "SL", "SL-M": "SL-M"}
_OLDER_STATUSES = {COMPLETE: "COMPLETE", REJECTED: "REJECTED", CANCELED: "CANCEL", AMO_CANCELLED: "CANCEL"}
_KEPT_IN_PART = frozenset({"norenordno", "order_id", "order_timestamp", "checksum", "status"})


def payload_of(order: Order, report: str, at: datetime, remarks: str, switches: WebhookSwitches, secret: str) -> Fields:
    """Return what an update says in the dialect that is switched; `report` names the step, `remarks` may be blank."""
    match switches.dialect:
        case "checksum":
            payload = _older(order, at, secret)
        case "badChecksum":
            payload = _older(order, at, f"not {secret}")
        case _:
            payload = _noren(order, report, at, remarks)
    return {name: value for name, value in payload.items() if not switches.partial or name in _KEPT_IN_PART}


def forged(user_id: str, fields: Fields, at: datetime) -> Fields:
    """Return what somebody who is not the broker claims: a complete order under a number that nobody ever has."""
    return _BLANK | {
        "norenordno": f"{at.astimezone(IST):%y%m%d}99999999", "actid": user_id, "exch": "NSE", "tsym": "IDEA-EQ",
        "qty": "100", "prc": "14.10", "prd": "CNC", "pcode": "C", "status": COMPLETE, "reporttype": "Fill",
        "trantype": "B", "prctyp": "LMT", "ret": "DAY", "fillshares": "100", "avgprc": "14.10", "flid": "1",
        "flqty": "100", "flprc": "14.10", "fltm": date_first(at), "exch_tm": date_first(at), "tm": time_first(at),
    } | fields  # fmt: skip


def _noren(order: Order, report: str, at: datetime, remarks: str) -> Fields:
    row, terms, product = order.row(), order.terms, str(order.identity["product"])
    said: Fields = {
        "norenordno": order.number, "actid": row["actId"], "exch": order.exchange, "tsym": order.symbol,
        "qty": terms.qty, "prc": row["price"], "prd": product, "pcode": RAW_PRODUCT.get(product, product),
        "status": order.status, "reporttype": report, "trantype": row["transType"],
        "prctyp": _PRICE_TYPES[terms.price_type], "ret": terms.ret, "fillshares": row["fillShares"],
        "avgprc": row["avgTradePrice"], "rejreason": row["rejectedReason"], "exchordid": row["exchOrderId"],
        "cancelqty": str(_cancelled(order)) if _cancelled(order) else None, "remarks": remarks,
        "dscqty": row["disclosedQty"], "trgprc": row["triggerPrice"], "blprc": row["stopLoss"],
        "bpprc": row["target"], "trailprc": row["trailingPrice"], "exch_tm": row["exchUpdateTime"],
        "amo": "Yes" if row["orderType"] == "AMO" else None, "tm": time_first(at),
    }  # fmt: skip
    if report == "Fill":
        trade = order.trades[-1]
        said |= {
            "fltm": trade["fillTime"], "flid": trade["fillId"], "flqty": trade["fillqty"], "flprc": trade["fillprc"],
        }  # fmt: skip
    return _BLANK | {name: str(value) for name, value in said.items() if value is not None}


def _older(order: Order, at: datetime, secret: str) -> Fields:
    """Return the payload of the older page, which proves itself by a checksum (contract §8)."""
    row, terms, when = order.row(), order.terms, f"{at.astimezone(IST):%Y-%m-%d %H:%M:%S}"
    average = written(order.filled_value / order.filled) if order.filled else "0"
    return {
        "user_id": row["userId"], "unfilled_quantity": terms.quantity - order.filled, "app_id": 1234,
        "checksum": hashlib.sha256(f"{order.number}{when}{secret}".encode()).hexdigest(),
        "placed_by": row["userId"], "order_id": order.number, "exchange_order_id": row["exchOrderId"],
        "parent_order_id": None, "status": _OLDER_STATUSES.get(order.status, "UPDATE"),
        "status_message": order.reason, "status_message_raw": order.reason, "order_timestamp": when,
        "exchange_update_timestamp": when, "exchange_timestamp": when, "variety": str(row["orderType"]).lower(),
        "exchange": order.exchange, "tradingsymbol": order.symbol, "instrument_token": int(str(row["token"] or 0)),
        "order_type": _OLDER_PRICE_TYPES[terms.price_type], "transaction_type": "BUY" if order.is_buy else "SELL",
        "validity": terms.ret, "product": row["product"], "quantity": terms.quantity,
        "disclosed_quantity": int(terms.disclosed_qty or 0), "price": float(terms.limit),
        "trigger_price": float(terms.trigger), "average_price": float(average),
        "filled_quantity": order.filled, "pending_quantity": order.open_quantity,
        "cancelled_quantity": _cancelled(order), "market_protection": float(terms.mkt_protection or 0), "meta": {},
        "tag": None, "guid": "XXXXXX",
    }  # fmt: skip


def _cancelled(order: Order) -> int:
    return order.terms.quantity - order.filled if order.status in FINAL - {COMPLETE, REJECTED} else 0
