"""Everything that can go wrong at the broker, as data: what is answered instead of what was asked for."""

import json
from dataclasses import dataclass

JSON = "application/json"
TEXT = "text/plain;charset=UTF-8"
HTML = "text/html;charset=UTF-8"


@dataclass(frozen=True)
class Canned:
    """An answer that needs no looking anything up."""

    about: str
    status: int
    content_type: str
    body: bytes


def _said(about: str, status: int, content: object) -> Canned:
    return Canned(about, status, JSON, json.dumps(content).encode())


def _refused(about: str, word: str, message: str, *, key: str = "status", text: str = "message") -> Canned:
    return _said(about, 200, {key: word, text: message, "result": []})


_PAGE = b"<!doctype html><html><body><h1>Whitelabel Error Page</h1></body></html>"
_LOGGED_OUT = {"status": "Not ok", "message": "Unauthorized", "result": []}

CANNED: dict[str, Canned] = {
    "http500": Canned("500 with a page", 500, HTML, _PAGE),
    "http502": Canned("502 of a proxy", 502, HTML, b"<html><body>502 Bad Gateway</body></html>"),
    "http503": Canned("503 of a proxy", 503, HTML, b"<html><body>503 Service Unavailable</body></html>"),
    "http429": Canned("429, with Retry-After when seconds are given", 429, TEXT, b"Too Many Requests"),
    "http404": Canned("404 as for a path that is not there", 404, HTML, _PAGE),
    "http405": Canned("405 as for a wrong method", 405, HTML, _PAGE),
    "html200": Canned("200 with a page, as a wrong path gives", 200, HTML, b"<html><body>Gopocket</body></html>"),
    "empty200": Canned("200 with nothing", 200, JSON, b""),
    "emptyList": Canned("200 with an empty outer list", 200, JSON, b"[]"),
    "null200": Canned("200 with null", 200, JSON, b"null"),
    "truncatedJson": Canned("200 with half an answer", 200, JSON, b'{"status":"Ok","message":"Success","result":[{"or'),
    "huge": Canned("200 with thirty megabytes", 200, JSON, b'{"status":"Ok","result":"' + b"x" * 30_000_000 + b'"}'),
    "redirect302": Canned("302 to the login page", 302, HTML, b""),
    "notOk": _refused("a refusal, spelt Not ok", "Not ok", "Please try after some time"),
    "not_ok": _refused("a refusal, spelt not_ok", "not_ok", "Please try after some time", key="stat", text="emsg"),
    "Not_Ok": _refused("a refusal, spelt Not_Ok", "Not_Ok", "Please try after some time", key="stat", text="emsg"),
    "error": _refused("a refusal, spelt error", "error", "Please try after some time"),
    "okWithoutResult": _said("Ok, and nothing of what was asked for", 200, {"status": "Ok", "message": "Success"}),
    "okNullResult": _said("Ok around null", 200, {"status": "Ok", "message": "Success", "result": None}),
    "docsGeneric": _said(
        "the documented error that nobody ever saw", 500,
        {"status": "error", "message": "Error message", "error_type": "GeneralException"},
    ),
    "limitText": _refused("the limit told with 200", "Not ok", "Rate limit exceeded, too many requests"),
    "dead401Text": Canned("dead session: 401, plain text", 401, TEXT, b"Unauthorized"),
    "dead401Json": _said("dead session: 401, JSON", 401, _LOGGED_OUT),
    "dead401List": _said("dead session: 401, empty list", 401, []),
    "dead401Empty": Canned("dead session: 401, nothing", 401, JSON, b""),
    "dead403": Canned("dead session: 403", 403, TEXT, b"Forbidden"),
    "dead200Unauthorized": _refused("dead session: 200, Unauthorized", "Not ok", "Unauthorized"),
    "dead200InvalidSession": _refused("dead session: 200, Invalid user session", "Not_ok", "Invalid user session"),
    "dead200SessionExpired": _refused("dead session: 200, Session Expired", "Ok", "Session Expired"),
    "deadEc087Status": _refused("dead session: code as status", "EC087", "Please login again"),
    "deadEc087Message": _refused("dead session: code in the message", "Not ok", "EC087 : Please login again"),
    "invalidAuthCode": _said(
        "exchange: what any bad checksum gives", 200, {"stat": "Not_ok", "emsg": "Invalid auth code"}
    ),
    "invalidParameter": _refused("exchange: wrong URL told in words", "Not ok", "Invalid Parameter"),
    "failed": _refused("exchange: refused", "Not ok", "Failed"),
    "invalidVendor": _refused("exchange: unknown app", "Not ok", "Invalid vendor name or vendor key"),
    "notLoggedIn": _refused("exchange: no login", "Not ok", "User does not login. Please login"),
    "okWithoutToken": _said(
        "exchange: Ok without a token", 200,
        {"stat": "Ok", "emsg": "Enable/Login with TOTP, to create the session."},
    ),
}  # fmt: skip

BEHAVIOURS: dict[str, str] = {
    "slow": "answers rightly after some seconds (default 2); an order is taken only then, or with after before them",
    "hanging": "does not answer until the caller leaves or the seconds (default 60) have passed",
    "drip": "answers 200 at once and then a byte every 0.3 s, without end",
    "reset": "closes the connection without an answer",
    "otherClient": "exchange: the session of another client than the one who came",
    "noClientId": "exchange: a token without a client id",
    "emptyToken": "exchange: an empty token",
}
"""Faults that need more than a canned answer."""

ABOUT_FAULTS = {name: canned.about for name, canned in CANNED.items()} | BEHAVIOURS

FAULTS = tuple(ABOUT_FAULTS)
