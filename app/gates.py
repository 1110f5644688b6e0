"""What a request must be before anybody looks at it: its sizes first, then where it came from, then its body."""

import asyncio
import re

from starlette.types import Message, Receive, Scope

from app.heads import said
from app.json_bodies import judge_json
from app.problems import CrossSiteRequest, InvalidRequest, TooLarge
from app.safeguards.cross_site import Provenance, is_cross_site

JSON_PREFIX = "/v1/"
MAX_BODY = 64 * 1024  # bytes; our largest request is an order of a few hundred
MAX_HEADERS = 16 * 1024  # bytes of all names and values together
MAX_TARGET = 8 * 1024  # bytes of path and query
_BODY_PATIENCE = 10.0  # seconds; 64 KiB take longer on no line that trades
_LENGTH = re.compile(r"0*[0-9]{1,6}")  # of a body; what has more digits is not worth reading as a number
_API_PREFIXES = (JSON_PREFIX, "/sso/")


async def let_in(scope: Scope, receive: Receive, known_origins: frozenset[str]) -> Receive:
    """Judge a request, with all of its body; return what its route is to receive from.

    Raises `TooLarge`, `CrossSiteRequest`, `InvalidRequest` and `UnsupportedMediaType`.
    """
    _judge_head(scope)
    _judge_origin(scope, known_origins)
    body = await _whole_body(scope, receive)
    if body is None:
        return receive
    if body and scope["path"].startswith(JSON_PREFIX):
        judge_json(said(scope, b"content-type") or "", body)
    return _replayed(body, receive)


def _judge_origin(scope: Scope, known_origins: frozenset[str]) -> None:
    if not scope["path"].startswith(_API_PREFIXES):
        return
    provenance = Provenance(
        method=scope["method"],
        path=scope["path"],
        origin=said(scope, b"origin"),
        fetch_site=said(scope, b"sec-fetch-site"),
        has_cookie=said(scope, b"cookie") is not None,
    )
    if is_cross_site(provenance, known_origins):
        raise CrossSiteRequest


def _judge_head(scope: Scope) -> None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
        raise TooLarge(f"The address has more than {MAX_TARGET} bytes.", http_status=414)
    if sum(len(name) + len(content) for name, content in scope["headers"]) > MAX_HEADERS:
        raise TooLarge(f"The headers have more than {MAX_HEADERS} bytes.", http_status=431)


async def _whole_body(scope: Scope, receive: Receive) -> bytes | None:
    """Return the body of a request that has one, read within bounds of size and time."""
    announced = said(scope, b"content-length") or "0"
    if announced == "0" and said(scope, b"transfer-encoding") is None:
        return None
    if not _LENGTH.fullmatch(announced) or int(announced[-6:]) > MAX_BODY:
        raise TooLarge(f"The body has more than {MAX_BODY} bytes.")
    try:
        async with asyncio.timeout(_BODY_PATIENCE):
            return await _read_body(receive)
    except TimeoutError as error:
        raise InvalidRequest("The body did not arrive in time.") from error


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The caller went away.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise TooLarge(f"The body has more than {MAX_BODY} bytes.")
        has_more = message.get("more_body", False)
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
