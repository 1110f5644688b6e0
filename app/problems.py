"""Everything that can go wrong for a caller, as classes with a sentence, and the one place that renders them."""

from typing import Any, ClassVar

from fastapi.encoders import jsonable_encoder
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope
from typing_extensions import override

from app.pages import Button, content_security_policy, page

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A refusal in the form of RFC 9457; each subclass's docstring tells the client what to do about it."""

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]
    asks_for_sign_in: ClassVar[bool] = False
    """Whether the answer carries `loginUrl`."""
    said_to_a_person: ClassVar[str] = ""
    """What a page adds for somebody whose browser came here by itself."""

    def __init__(self, detail: str | None = None, *, headers: dict[str, str] | None = None, **members: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = headers or {}
        self.members = members
        self.return_to: str | None = None
        """Where a sign-in that failed was to end; its page begins the next one with it."""

    @property
    def http_status(self) -> int:
        return self.status

    def reasons(self) -> list[str]:
        """Return what a page tells beside the detail, a sentence each."""
        return []


class InvalidRequest(Problem):
    """Mend what `errors` names and send again; each entry has a `pointer` to the place and a `detail`."""

    slug, title, status = "invalid-request", "The request is not valid", 422
    said_to_a_person = "Please begin the sign-in again."

    @override
    def reasons(self) -> list[str]:
        errors = self.members.get("errors")
        named = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
        return [
            f"In the address that led here, {each['pointer'].rpartition('/')[2]} {each['detail']}." for each in named
        ]


class NotSignedIn(Problem):
    """Send the browser to `loginUrl`; there is no session here, or it was ended."""

    slug, title, status, asks_for_sign_in = "not-signed-in", "Nobody is signed in", 401, True


class SessionExpired(Problem):
    """Send the browser to `loginUrl`; the session was idle for too long or has reached its age."""

    slug, title, status, asks_for_sign_in = "session-expired", "The session has expired", 401, True


class BrokerSessionExpired(Problem):
    """Send the browser to `loginUrl`; our session lives but the broker's does not, and only a new login renews it.

    Nothing is known about funds, orders or positions until then: never show them as empty.
    """

    slug, title, status = "broker-session-expired", "The session at the broker has ended", 401
    asks_for_sign_in = True


class CrossSiteRequest(Problem):
    """Call from an origin listed in FRONTEND_ORIGINS; a request that another site caused is refused."""

    slug, title, status = "cross-site-request", "The request came from another site", 403
    said_to_a_person = "For your safety nothing has been done. If you want to sign in, please begin here."


class UserMismatch(Problem):
    """Begin the sign-in again; the broker named another user than the one who came back."""

    slug, title, status, asks_for_sign_in = "user-mismatch", "The broker named another user", 403, True
    said_to_a_person = "Nobody has been signed in. Please begin the sign-in again."


class LoginRefused(Problem):
    """Begin the sign-in again; the broker did not confirm it, and `detail` has its words."""

    slug, title, status, asks_for_sign_in = "login-refused", "The broker refused the login", 403, True
    said_to_a_person = "Nobody has been signed in. Please begin the sign-in again."


class LoginAttemptMissing(Problem):
    """Begin the sign-in in this browser; it was not begun here, or more than ten minutes ago."""

    slug, title, status = "login-attempt-missing", "This login was not begun in this browser", 400
    asks_for_sign_in = True
    said_to_a_person = (
        "It was begun elsewhere, or more than ten minutes ago, or this browser keeps no cookies. "
        "Please begin the sign-in again."
    )


class AuthCodeUsed(Problem):
    """Begin the sign-in again; the broker's code has been used already and is good for one time only."""

    slug, title, status, asks_for_sign_in = "auth-code-used", "This login has been used already", 409, True
    said_to_a_person = "A login is good for one time. Please begin the sign-in again."


class NotFound(Problem):
    """Check the address; what belongs to somebody else is not found either."""

    slug, title, status = "not-found", "There is nothing here", 404
    said_to_a_person = "If you want to sign in, please begin here."


class MethodNotAllowed(Problem):
    """Use one of the methods named in the `Allow` header."""

    slug, title, status = "method-not-allowed", "This method is not served here", 405


class TooLarge(Problem):
    """Send less: the body (413), the address (414) or the headers (431) are over the limit named in `detail`."""

    slug, title, status = "too-large", "The request is too large", 413

    def __init__(self, detail: str, *, http_status: int = 413) -> None:
        super().__init__(detail)
        self._http_status = http_status

    @property
    @override
    def http_status(self) -> int:
        return self._http_status


class TemporarilyUnavailable(Problem):
    """Wait for `Retry-After` seconds and send again; something of ours, not the broker's, is out of reach."""

    slug, title, status = "temporarily-unavailable", "The service is temporarily unavailable", 503

    def __init__(self, detail: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class InternalError(Problem):
    """Report the `X-Request-ID`; this is a fault of ours, and sending again will hardly help."""

    slug, title, status = "internal-error", "Something went wrong on our side", 500


class BrokerRateLimited(Problem):
    """Wait for `Retry-After` seconds; the broker says that it had too many calls."""

    slug, title, status = "broker-rate-limited", "The broker limits its calls", 503


class BrokerUnavailable(Problem):
    """Try again shortly; the broker could not be reached or says that it is out of service."""

    slug, title, status = "broker-unavailable", "The broker can't be reached", 503


class BrokerTimeout(Problem):
    """Try again shortly; the broker did not answer in time."""

    slug, title, status = "broker-timeout", "The broker did not answer in time", 504


class BrokerFault(Problem):
    """Try again later; the broker answered with something that makes no sense, or refused the question."""

    slug, title, status = "broker-fault", "The broker's answer could not be used", 502


BROKER_READ = (
    NotSignedIn, SessionExpired, BrokerSessionExpired,
    BrokerRateLimited, BrokerUnavailable, BrokerTimeout, BrokerFault, TemporarilyUnavailable,
)  # fmt: skip
"""What every read that asks the broker can end with."""


def all_problems() -> list[type[Problem]]:
    """Return every kind of problem, in the order in which they stand on this page."""
    found: list[type[Problem]] = []
    waiting = list(Problem.__subclasses__())
    while waiting:
        kind = waiting.pop(0)
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


def problem_of(slug: str, detail: str | None) -> Problem:
    """Return the problem of a slug that was written down, an internal error for one that is not known."""
    kinds = {kind.slug: kind for kind in all_problems() if kind is not TooLarge}
    return kinds.get(slug, InternalError)(detail)


def answers(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return what a route's description says of the problems it can answer with, for the OpenAPI document."""
    by_status: dict[int | str, list[type[Problem]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(f"`{kind.slug}`: {kind.title}" for kind in together),
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": _examples(together)}
            },
        }
        for status, together in by_status.items()
    }


def _examples(kinds: list[type[Problem]]) -> dict[str, object]:
    return {
        kind.slug: {
            "value": {
                "type": f"https://partner.example/problems/{kind.slug}",
                "title": kind.title,
                "status": kind.status,
            }
        }
        for kind in kinds
    }


SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457; `type` is the address of a page that says what to do.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "loginUrl": {"type": "string", "format": "uri", "description": "where a sign-in begins, if one is asked for"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
"""How a problem looks in the OpenAPI document."""


def _is_navigating(scope: Scope) -> bool:
    """Say whether a person's browser came to our sign-in by itself; the API answers in JSON whatever is accepted."""
    if scope["type"] != "http" or not scope["path"].startswith("/sso/"):
        return False
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" if mode else "text/html" in headers.get("accept", "")


class ProblemRenderer:
    """Turns a problem into an answer; knows where our problem pages and our sign-in stand."""

    def __init__(self, public_base_url: str, sign_in_url: str, form_targets: tuple[str, ...]) -> None:
        self._problems_url = f"{public_base_url}/problems/"
        self._sign_in_url = sign_in_url
        self._policy = content_security_policy(*form_targets)

    def answer(self, problem: Problem, scope: Scope) -> Response:
        """Return the problem as a page for a person whose browser came to our sign-in by itself, else as JSON."""
        return self.as_page(problem) if _is_navigating(scope) else self.as_json(problem)

    def as_json(self, problem: Problem) -> Response:
        """Return the problem as `application/problem+json`."""
        return JSONResponse(
            self._body(problem), status_code=problem.http_status, headers=problem.headers, media_type=MEDIA_TYPE
        )

    def as_page(self, problem: Problem) -> Response:
        """Return the problem as a page for somebody whose browser came to our sign-in by itself."""
        said = [problem.detail or "", *problem.reasons(), problem.said_to_a_person or "Please try again in a moment."]
        fields = (("return_to", problem.return_to),) if problem.return_to else ()
        html = page(
            problem.title,
            said,
            button=Button("Sign in with Gopocket", self._sign_in_url, fields),
            small_print=f"{problem.slug} ({problem.http_status})",
        )
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "same-origin", **problem.headers}
        return HTMLResponse(html, status_code=problem.http_status, headers=headers)

    def _body(self, problem: Problem) -> dict[str, object]:
        body: dict[str, object] = {
            "type": self._problems_url + problem.slug,
            "title": problem.title,
            "status": problem.http_status,
        }
        if problem.detail:
            body["detail"] = problem.detail
        if problem.asks_for_sign_in:
            body["loginUrl"] = self._sign_in_url
        body.update(jsonable_encoder(problem.members))
        return body
