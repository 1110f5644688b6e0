"""What every request passes before it reaches a route: plain ASGI, so that streams and context stay whole."""

import asyncio
import re
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import monotonic, random_bytes
from app.json_bodies import judge_json
from app.limits import Category, Limits
from app.observability import logger
from app.outlasting import go_on
from app.problems import (
    CrossSiteRequest,
    InternalError,
    InvalidRequest,
    Problem,
    TemporarilyUnavailable,
    TooLarge,
)
from app.rendering import ProblemRenderer
from app.safeguards.cross_site import Provenance, is_cross_site
from app.safeguards.quotas import Telling, fields, policy_field, telling
from app.safeguards.ratelimit import RateLimiter

_log = logger("access")

MAX_BODY = 64 * 1024  # bytes; our largest request is an order of a few hundred
MAX_HEADERS = 16 * 1024  # bytes of all names and values together
MAX_TARGET = 8 * 1024  # bytes of path and query
_STANDING_AGE = 1.0  # seconds; a reused read is answered without a look at the store of permits
_BODY_PATIENCE = 10.0  # seconds; 64 KiB take longer on no line that trades

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LENGTH = re.compile(r"0*[0-9]{1,6}")  # of a body; what has more digits is not worth reading as a number
_JSON_PREFIX = "/v1/"
_API_PREFIXES = (_JSON_PREFIX, "/sso/")


class RequestContext:
    """Gives each request an id, its answer the headers that every answer carries, and the log one line."""

    def __init__(self, app: ASGIApp, *, is_production: bool) -> None:
        self._app = app
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-site",
            "Cache-Control": "no-store",
        }
        if is_production:
            self._headers["Strict-Transport-Security"] = "max-age=63072000"  # two years

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, request_id = monotonic(), _request_id(scope)
        # The address of a sign-in holds the auth code; elsewhere our own pages may know where they were called from.
        referrer = "no-referrer" if scope["path"].startswith("/sso/") else "same-origin"
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, content in self._headers.items():
                    headers.setdefault(name, content)
                headers.setdefault("Referrer-Policy", referrer)
                headers["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
                await go_on(scope, receive, send)
            finally:
                _log.info(
                    "request",
                    method=scope["method"],
                    route=_route(scope),  # the template: paths may carry what only the caller should know
                    status=status,
                    milliseconds=round((monotonic() - began_at) * 1000, 1),
                )


class QuotaFields:
    """Tells on every answer of the API what is left of the broker's limits."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_JSON_PREFIX):
            await self._app(scope, receive, send)
            return
        current = Telling()

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(await self._fields(scope, current))
            await send(message)

        before = telling.set(current)
        try:
            await self._app(scope, receive, send_with_fields)
        finally:
            telling.reset(before)

    async def _fields(self, scope: Scope, current: Telling) -> Mapping[str, str]:
        """Return the fields, without a remainder where nobody is signed in or it would tell of others' use."""
        is_read = scope["method"] in {"GET", "HEAD"}
        category = current.category(Category.NON_TRADING if is_read else Category.ORDER)
        limiter: RateLimiter = scope["state"]["limiter"]
        try:
            if current.user_id is not None and not current.is_silent:
                known = current.standings.get(category)
                return fields(known or await limiter.standing(current.user_id, category, within=_STANDING_AGE))
        except TemporarilyUnavailable:
            _log.debug("quota_not_told")
        policy = policy_field(self._limits, category)
        return {"RateLimit-Policy": policy} if policy else {}


class Failures:
    """The outermost handler: what nobody expected becomes a problem for the caller and a trace for the log."""

    def __init__(self, app: ASGIApp, *, renderer: ProblemRenderer) -> None:
        self._app = app
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:  # one of the three places that may: here a fault ends, told to the log and to the caller
            if scope["type"] != "http" or has_begun:
                raise
            _log.exception("internal_error", route=_route(scope))
            await self._renderer.answer(InternalError(), scope)(scope, receive, send)


class Gates:
    """Sizes first, then where the request came from: both before any session is looked up."""

    def __init__(self, app: ASGIApp, *, renderer: ProblemRenderer, known_origins: frozenset[str]) -> None:
        self._app = app
        self._renderer = renderer
        self._known_origins = known_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            _judge_head(scope)
            self._judge_origin(scope, headers)
            body = await _whole_body(headers, receive)
            if body and scope["path"].startswith(_JSON_PREFIX):
                judge_json(headers.get("content-type", ""), body)
        except Problem as problem:
            await self._renderer.answer(problem, scope)(scope, receive, send)
            return
        await self._app(scope, receive if body is None else _replayed(body, receive), send)

    def _judge_origin(self, scope: Scope, headers: Headers) -> None:
        provenance = Provenance(
            method=scope["method"],
            path=scope["path"],
            origin=_said(headers, "origin"),
            fetch_site=_said(headers, "sec-fetch-site"),
            has_cookie="cookie" in headers,
        )
        if scope["path"].startswith(_API_PREFIXES) and is_cross_site(provenance, self._known_origins):
            raise CrossSiteRequest


def _said(headers: Headers, name: str) -> str | None:
    """Return all that a header says: what is sent twice is one text, which no list of ours holds."""
    return ", ".join(headers.getlist(name)) if name in headers else None


def _judge_head(scope: Scope) -> None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
        raise TooLarge(f"The address has more than {MAX_TARGET} bytes.", http_status=414)
    if sum(len(name) + len(content) for name, content in scope["headers"]) > MAX_HEADERS:
        raise TooLarge(f"The headers have more than {MAX_HEADERS} bytes.", http_status=431)


async def _whole_body(headers: Headers, receive: Receive) -> bytes | None:
    """Return the body of a request that has one, read within bounds of size and time."""
    announced = headers.get("content-length", "0")
    if announced == "0" and "transfer-encoding" not in headers:
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


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else random_bytes(12).hex()


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "-")
