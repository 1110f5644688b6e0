"""What every request passes on its way in and out, in one piece of plain ASGI: id, gates, header fields, log, metrics.

One and not five around one another: each costs every message of every answer (docs/performance.md).
"""

import re
from collections.abc import Iterable, Mapping
from itertools import count

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import measures
from app.clock import monotonic, random_bytes
from app.gates import JSON_PREFIX, let_in
from app.heads import said
from app.limits import Category, Limits
from app.observability import Errand, begin_errand, logger, tell_request
from app.outlasting import go_on
from app.problems import InternalError, Problem, TemporarilyUnavailable
from app.rendering import ProblemRenderer
from app.safeguards.quotas import Telling, policy_field, telling
from app.safeguards.ratelimit import RateLimiter
from app.settings import Settings

_log = logger("access")

Field = tuple[bytes, bytes]

_STANDING_AGE = 1.0  # seconds; a reused read is answered without a look at the store of permits
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ["GET", "POST", "PATCH", "DELETE"]
_ASKED_HEADERS = [
    "Content-Type", "Idempotency-Key", "X-Background", "Cache-Control", "Last-Event-ID", "X-Request-ID",
]  # fmt: skip
_TOLD_HEADERS = [
    "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed", "Age", "X-Request-ID",
]  # fmt: skip


class Edge:
    """The outermost of ours: whatever comes in is judged, and whatever goes out is complete."""

    def __init__(self, app: ASGIApp, *, settings: Settings, renderer: ProblemRenderer) -> None:
        self._app = app
        self._renderer = renderer
        self._own_ids, self._numbers = random_bytes(8).hex(), count(1)
        self._known_origins = settings.known_origins
        self._limits = settings.rate_limits_user
        self._fields = _Fields(settings)
        self._cors = CORSMiddleware(
            app,
            allow_origins=list(settings.frontend_origins),
            allow_credentials=True,
            allow_methods=_METHODS,
            allow_headers=_ASKED_HEADERS,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_at = monotonic()
        errand = begin_errand(self._id_of(scope))
        answer = _Answer(scope, send, errand, self._fields, self._limits)
        try:
            await self._serve(scope, receive, answer)
            await go_on(scope, receive, answer)
        finally:
            # The template of the route: paths may carry what only the caller should know.
            method, route, seconds = scope["method"], _route(scope), monotonic() - began_at
            measures.request_ended(route, method, answer.status, scope.get("problem", "-"), seconds)
            tell_request(method, route, answer.status, round(seconds * 1000, 1), errand)

    def _id_of(self, scope: Scope) -> str:
        """Return the caller's id where it is one, else one that nobody else gives; it need not be hard to guess."""
        given = said(scope, b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return f"{self._own_ids}-{next(self._numbers):x}"

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if _asks_before(scope):
            answer.is_complete = True
            preflight = self._cors.preflight_response(request_headers=Headers(scope=scope))
            await preflight(scope, receive, answer)
            return
        try:
            await self._app(scope, await let_in(scope, receive, self._known_origins), answer)
        except Problem as problem:
            if answer.has_begun:
                raise
            await self._renderer.answer(problem, scope)(scope, receive, answer)
        except Exception:  # one of the three places that may: here a fault ends, told to the log and to the caller
            if answer.has_begun:
                raise
            _log.exception("internal_error", route=_route(scope))
            measures.internal_error_met()
            await self._renderer.answer(InternalError(), scope)(scope, receive, answer)


class _Fields:
    """The header fields that are the same on all answers of their kind."""

    def __init__(self, settings: Settings) -> None:
        given = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-site",
            "Cache-Control": "no-store",
        }
        if settings.is_production:
            given["Strict-Transport-Security"] = "max-age=63072000"  # two years
        # The address of a sign-in holds the auth code; elsewhere our own pages may know where they were called from.
        self.of_sign_in = encoded(given | {"Referrer-Policy": "no-referrer"})
        self.of_others = encoded(given | {"Referrer-Policy": "same-origin"})
        told = {"Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": ", ".join(_TOLD_HEADERS)}
        self._of_strangers = encoded(told)
        self._of_frontends = {
            origin: encoded({"Access-Control-Allow-Origin": origin} | told) for origin in settings.frontend_origins
        }

    def for_origin(self, origin: str | None) -> list[Field]:
        """Return what CORS wants; nothing names an origin that is not one of our frontends'."""
        return [] if origin is None else self._of_frontends.get(origin, self._of_strangers)


class _Answer:
    """What sends the answer to one request: its fields completed when it begins, its status kept for the log."""

    def __init__(self, scope: Scope, send: Send, errand: Errand, known: _Fields, limits: Limits) -> None:
        self._scope = scope
        self._send = send
        self._errand = errand
        self._known = known
        self._limits = limits
        self._telling = Telling() if scope["path"].startswith(JSON_PREFIX) else None
        telling.set(self._telling)
        self.status = 500
        self.has_begun = False
        self.is_complete = False
        """Whether it says by itself what other origins may do, and nothing of the API: a second word would undo it."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun, self.status = True, message["status"]
            message["headers"] = await self._completed(message.get("headers", ()))
        await self._send(message)

    async def _completed(self, given: Iterable[Field]) -> list[Field]:
        """Return the fields of an answer with ours, save what it says itself; the names are in small letters."""
        headers = list(given)
        said_itself = {name for name, _ in headers}
        ours = self._known.of_sign_in if self._scope["path"].startswith("/sso/") else self._known.of_others
        headers += [each for each in ours if each[0] not in said_itself]
        headers.append((b"x-request-id", self._errand.id.encode("ascii")))
        if self.is_complete:
            return headers
        headers += self._known.for_origin(said(self._scope, b"origin"))
        headers.append((b"vary", b"Origin"))
        if self._telling is not None:
            headers += encoded(await self._quotas(self._telling))
        return headers

    async def _quotas(self, current: Telling) -> Mapping[str, str]:
        """Return what is left, without a remainder where nobody is signed in or it would tell of others' use."""
        is_read = self._scope["method"] in {"GET", "HEAD"}
        category = current.category(Category.NON_TRADING if is_read else Category.ORDER)
        try:
            if current.user_id is not None and not current.is_silent:
                known = current.standings.get(category)
                limiter: RateLimiter = self._scope["state"]["limiter"]
                known = known or await limiter.standing(current.user_id, category, within=_STANDING_AGE)
                return known.fields
        except TemporarilyUnavailable:
            _log.debug("quota_not_told")
        policy = policy_field(self._limits, category)
        return {"RateLimit-Policy": policy} if policy else {}


def encoded(fields: Mapping[str, str]) -> list[Field]:
    """Return header fields as they go over the wire, with names in small letters."""
    return [(name.lower().encode("ascii"), content.encode("latin-1")) for name, content in fields.items()]


def _asks_before(scope: Scope) -> bool:
    """Say whether a browser asks if another origin may ask."""
    return (
        scope["method"] == "OPTIONS"
        and said(scope, b"origin") is not None
        and said(scope, b"access-control-request-method") is not None
    )


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "-")
