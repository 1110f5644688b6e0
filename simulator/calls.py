"""Which calls the simulated broker has, and at which paths; the first of each is the default (contract §1, §2)."""

EXCHANGE_PATHS = (
    "/am/sso/vendor/auth/getUserDetails",
    "/am/sso/vendor/getUserDetails",
    "/open-api/order/v1/vendor/getUserDetails",
)

READS: dict[str, tuple[str, tuple[str, ...]]] = {
    "profile": ("GET", ("/client-rest/profile/getclientdetails", "/client-rest/api/profile/getclientdetails")),
    "getUser": ("GET", ("/client-rest/profile/getUser",)),
    "funds": ("GET", ("/funds-rest/funds/limits", "/funds-rest/api/funds/limits")),
    "holdings": ("GET", ("/ho-rest/holdings", "/ho-rest/api/holdings/")),
    "positions": ("GET", ("/po-rest/positions", "/po-rest/positions/")),
    "orderBook": ("GET", ("/od-rest/info/orderbook", "/od-rest/api/info/orderbook")),
    "tradeBook": ("GET", ("/od-rest/info/tradebook", "/od-rest/api/info/tradebook")),
    "orderHistory": ("POST", ("/od-rest/info/history", "/od-rest/api/info/history")),
}

ORDER_PATHS: dict[str, tuple[str, ...]] = {
    "place": ("/od-rest/orders/execute",),
    "modify": ("/od-rest/orders/modify", "/od-rest/api/orders/modify"),
    "cancel": ("/od-rest/orders/cancel",),
    "margin": ("/od-rest/orders/getmargin",),
    "convert": ("/po-rest/positions/conversion",),
}
"""All of them are POST."""

WEBHOOK_PATHS = {
    "subscribe": "/order-notify/webhook/subscribe",
    "unsubscribe": "/order-notify/webhook/unSubscribe",
}
"""All of them are POST, and in this spelling."""

CALLS = ("exchange", *READS, *ORDER_PATHS, *WEBHOOK_PATHS)

CALL_OF_PATH = (
    dict.fromkeys(EXCHANGE_PATHS, "exchange")
    | {path: call for call, (_, paths) in READS.items() for path in paths}
    | {path: call for call, paths in ORDER_PATHS.items() for path in paths}
    | {path: call for call, path in WEBHOOK_PATHS.items()}
)
