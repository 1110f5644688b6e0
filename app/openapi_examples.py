"""One example of each answer for the OpenAPI document; a test holds them against the models."""

from typing import Any

_ORDER: dict[str, Any] = {
    "orderNo": "26112300000001", "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY",
    "quantity": 100, "filledQuantity": 40, "pendingQuantity": 60, "price": "14.10", "triggerPrice": None,
    "averagePrice": "14.10", "product": "CNC", "orderType": "LIMIT", "variety": "REGULAR", "validity": "DAY",
    "status": "OPEN", "statusText": "OPEN", "rejectionReason": None, "exchangeOrderId": "1100000000000001",
    "placementId": None, "placedAt": "2026-11-23T03:51:05Z",
}  # fmt: skip

_STATE: dict[str, Any] = {
    "status": "OPEN", "statusText": "OPEN", "report": "Open", "quantity": 100, "filledQuantity": 40, "price": "14.10",
    "averagePrice": "14.10", "exchangeOrderId": "1100000000000001", "at": "2026-11-23T03:51:05Z",
}  # fmt: skip

_DEVICE: dict[str, Any] = {
    "id": "0f9d5d0a-6c1b-4f7e-9a53-6d1f2f3f9c11", "current": True, "createdAt": "2026-11-23T03:40:00Z",
    "lastSeenAt": "2026-11-23T04:11:30Z", "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
    "addressPrefix": "203.0.113.0/24",
}  # fmt: skip

_TRADE: dict[str, Any] = {
    "tradeId": "79680001", "orderNo": "26112300000001", "exchange": "NSE", "tradingSymbol": "IDEA-EQ",
    "transactionType": "BUY", "product": "CNC", "quantity": 40, "price": "14.10", "tradedAt": "2026-11-23T03:51:05Z",
}  # fmt: skip

_LISTING: dict[str, Any] = {"exchange": "NSE", "tradingSymbol": "IDEA-EQ", "token": "14366"}

_HOLDING: dict[str, Any] = {
    "isin": "INE669E01016", "product": "CNC", **_LISTING, "quantity": 30, "sellableQuantity": 30, "usedQuantity": 0,
    "averagePrice": "21.82", "lastPrice": "13.95", "previousClose": "13.95", "pnl": "-236.10", "listings": [_LISTING],
}  # fmt: skip

_POSITION: dict[str, Any] = {
    "exchange": "NFO", "tradingSymbol": "NIFTY26DEC26000CE", "token": "54957", "product": "NRML", "netQuantity": -150,
    "buyQuantity": 0, "sellQuantity": 150, "averagePrice": "210.55", "buyAveragePrice": "0.0",
    "sellAveragePrice": "210.55", "lastPrice": "198.20", "previousClose": "201.00", "realizedPnl": "0.0",
    "unrealizedPnl": "1852.50", "multiplier": 1, "lotSize": 75,
}  # fmt: skip

_FUNDS: dict[str, Any] = {
    "availableMargin": "21030.50", "openingBalance": "25000.50", "marginUsed": "3970.00", "payin": "0.0",
    "payout": "0.0", "collateral": "0.0", "holdingSellCredit": "0.0", "brokerage": "0.0", "exposure": "0.0",
    "span": "0.0", "premium": "0.0", "unclearedCash": "0.0",
}  # fmt: skip

_TERMS: dict[str, Any] = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 100, "product": "CNC",
    "orderType": "LIMIT", "price": "14.10", "triggerPrice": None, "validity": "DAY", "variety": "REGULAR",
    "disclosedQuantity": None,
}  # fmt: skip

_CONVERSION: dict[str, Any] = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 40, "fromProduct": "MIS",
    "toProduct": "CNC", "positionType": "DAY",
}  # fmt: skip

_PLACED: dict[str, Any] = {"orderNo": "26112300000001", "status": "OPEN", "rejectionReason": None}

_PLACEMENT: dict[str, Any] = {
    "placementId": "0d4b5f8e-6f0b-4a86-9d51-3d7c1f3f2b11", "action": "PLACE", "outcome": "accepted",
    "orders": [_PLACED], "reason": None, "order": _TERMS, "conversion": None, "candidates": [],
    "createdAt": "2026-11-23T03:51:05.120000Z", "resolvedAt": "2026-11-23T03:51:05.240000Z",
}  # fmt: skip

_CANCELLED: dict[str, Any] = {
    "orderNo": "26112300000001", "outcome": "accepted", "reason": None,
    "placementId": "4c1b6a0e-93a9-4f2f-8d0a-5f0d5a8c7e21",
}  # fmt: skip

_MARGIN: dict[str, Any] = {
    "requiredMargin": "1410.00", "availableMargin": "21030.50", "marginShortfall": "0.0", "marginUsed": "3970.00",
    "openingBalance": "25000.50", "remarks": None,
}  # fmt: skip

_PROFILE: dict[str, Any] = {
    "id": "AB1234", "accountId": "AB1234", "name": "Asha Menon", "status": "Activated", "exchanges": ["NSE", "BSE"],
    "products": ["CNC", "NRML", "MIS"], "email": "a******@mail.example", "mobile": "******10", "pan": "******4K",
    "depositoryAccounts": ["******5678"],
}  # fmt: skip

_SESSION: dict[str, Any] = {
    "user": {"id": "AB1234", "name": "Asha Menon"},
    "signedInAt": "2026-11-23T03:45:00Z",
    "expiresAt": "2026-11-24T03:45:00Z",
    "idleExpiresAt": "2026-11-23T04:15:00Z",
    "broker": {
        "connected": True,
        "expiresAt": "2026-11-23T18:30:00Z",
        "reason": None,
        "loginUrl": "https://api.partner.example/sso/login",
    },
}

_AS_OF = "2026-11-23T03:52:00Z"

_CHANGES: list[dict[str, Any]] = [
    {"field": "filledQuantity", "before": 0, "now": 40},
    {"field": "pendingQuantity", "before": 100, "now": 60},
    {"field": "averagePrice", "before": None, "now": "14.10"},
]

_EVENT: dict[str, Any] = {
    "id": 18, "type": "PARTLY_FILLED", "order": _ORDER, "changes": _CHANGES, "brokerAt": "2026-11-23T03:51:59Z",
    "seenAt": "2026-11-23T03:52:00.412000Z",
}  # fmt: skip

_WINDOWS: list[dict[str, Any]] = [
    {"seconds": 1, "limit": 25, "remaining": 22, "resetSeconds": 2},
    {"seconds": 60, "limit": 250, "remaining": 224, "resetSeconds": 61},
    {"seconds": 3600, "limit": 500, "remaining": 312, "resetSeconds": 1840},
    {"seconds": 86400, "limit": 5000, "remaining": 4312, "resetSeconds": 61_240},
]

EXAMPLES: dict[str, dict[str, Any]] = {
    "Order": _ORDER,
    "OrderState": _STATE,
    "OrderWithHistory": {**_ORDER, "history": [_STATE]},
    "OrderList": {"orders": [_ORDER], "asOf": _AS_OF},
    "OrderTerms": _TERMS,
    "NewOrder": {**_TERMS, "allowDuplicate": False},
    "OrderChange": {"quantity": 150, "price": "14.05"},
    "Conversion": _CONVERSION,
    "Margin": _MARGIN,
    "PlacedOrder": _PLACED,
    "Placement": _PLACEMENT,
    "PlacementList": {"placements": [_PLACEMENT], "asOf": _AS_OF, "nextCursor": None},
    "Cancelled": _CANCELLED,
    "Cancellations": {"cancellations": [_CANCELLED]},
    "CancelledPlacement": {**_PLACEMENT, "cancellations": [_CANCELLED]},
    "OrderEvent": _EVENT,
    "FieldChange": _CHANGES[0],
    "OrderEventList": {"orderEvents": [_EVENT], "asOf": _AS_OF, "nextCursor": None, "lastEventId": 18},
    "Trade": _TRADE,
    "TradeList": {"trades": [_TRADE], "asOf": _AS_OF},
    "Listing": _LISTING,
    "Holding": _HOLDING,
    "HoldingList": {"holdings": [_HOLDING], "asOf": _AS_OF},
    "Position": _POSITION,
    "PositionList": {"positions": [_POSITION], "asOf": _AS_OF},
    "Funds": _FUNDS,
    "Profile": _PROFILE,
    "SessionView": _SESSION,
    "SessionUser": _SESSION["user"],
    "SessionRow": _DEVICE,
    "SessionsView": {"sessions": [_DEVICE], "asOf": "2026-11-23T04:12:00Z"},
    "BrokerConnection": _SESSION["broker"],
    "RateLimitWindow": _WINDOWS[0],
    "RateLimitCategory": {"category": "order", "windows": _WINDOWS},
    "RateLimits": {"categories": [{"category": "order", "windows": _WINDOWS}]},
    "Health": {"status": "ok"},
}
"""By the name of the schema."""
