"""Everything that can go wrong for a caller, as classes with a sentence; rendering.py shows them."""

from math import ceil
from typing import ClassVar

from typing_extensions import override

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
        self.switch: str | None = None
        """With what the next sign-in may put another client in the place of the one who is signed in."""

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
    """Let the user choose: whoever came back is not who was expected, and who was signed in still is.

    Where somebody else was signed in here, `loginUrl` begins a sign-in that may put the other client in his place; else
    the broker named another client than the one who came back, and the sign-in has to be begun again.
    """

    slug, title, status, asks_for_sign_in = "user-mismatch", "Another client has come back", 403, True
    said_to_a_person = "Nothing has changed: whoever was signed in here still is."


class UserBlocked(Problem):
    """Don't try again, and don't send him to the login; only the operator of this service can let the user in."""

    slug, title, status = "user-blocked", "This user is blocked", 403
    said_to_a_person = "Nobody has been signed in. Please ask those who run this service."


class TradingHalted(Problem):
    """Don't send it again by yourself; trading is halted, for everybody or for this user, until somebody lifts it.

    Cancels still pass. `detail` has the reason that was given.
    """

    slug, title, status = "trading-halted", "Trading is halted", 403


class LoginRefused(Problem):
    """Begin the sign-in again; the broker did not confirm it."""

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


class IdempotencyKeyMissing(Problem):
    """Send the header `Idempotency-Key`: a fresh random text for each order meant, the same one when it is repeated."""

    slug, title, status = "idempotency-key-missing", "There is no Idempotency-Key", 400


class IdempotencyKeyInUse(Problem):
    """Wait for `Retry-After` seconds and send the very same again; the first request with this key is under way."""

    slug, title, status = "idempotency-key-in-use", "The first request with this key is still running", 409


class IdempotencyKeyReused(Problem):
    """Use a new key; this one belongs to another request, and nothing has been sent."""

    slug, title, status = "idempotency-key-reused", "The key belongs to another request", 422


class PlacementUnresolved(Problem):
    """Wait until the placement named in `placementId` is resolved; an equal order of the user is still unknown.

    If a second one is meant, send it with `"allowDuplicate": true`. Nothing has been sent.
    """

    slug, title, status = "placement-unresolved", "An equal order is still unknown", 409


class CapExceeded(Problem):
    """Send less; the order is over a cap of quantity, value or orders per day, which `detail` names."""

    slug, title, status = "cap-exceeded", "The order is over a cap", 422


class OrderRefused(Problem):
    """Show `reason` to the user: the broker refused, or nothing was sent; a new try needs a new key.

    `placementId` names what was remembered of it; `GET /v1/placements/{placementId}` shows it.
    """

    slug, title, status = "order-refused", "The order was refused", 422


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


class UnsupportedMediaType(Problem):
    """Send JSON and say so: `Content-Type: application/json`."""

    slug, title, status = "unsupported-media-type", "The body is not JSON", 415


class RateLimited(Problem):
    """Wait for `Retry-After` seconds; `violatedPolicies` names the windows that are full, and nothing has been sent.

    `RateLimit` tells on every answer what is left, so that a client can slow down before. Cancels have a share of their
    own.
    """

    slug, title, status = "rate-limited", "The broker's limits leave nothing for now", 429
    said_to_a_person = "Too many sign-ins have come from your network. Please try again in a few seconds."

    def __init__(self, wait: float, policies: list[str], *, is_own: bool = True) -> None:
        """Take the seconds until the windows have room again, their names, and whether one of them is the caller's."""
        super().__init__(headers={"Retry-After": str(max(ceil(wait), 1))}, violatedPolicies=policies)
        self.wait = wait
        self.is_own = is_own


class TemporarilyUnavailable(Problem):
    """Wait for `Retry-After` seconds and send again; something of ours, not the broker's, is out of reach."""

    slug, title, status = "temporarily-unavailable", "The service is temporarily unavailable", 503

    def __init__(self, detail: str | None = None, *, wait: float | None = None) -> None:
        """Take, where that is known, the seconds until it is this caller's turn."""
        super().__init__(detail, headers={"Retry-After": "2" if wait is None else str(max(ceil(wait), 1))})
        self.wait = wait


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
    if slug == RateLimited.slug:
        return RateLimited(1.0, [])
    kinds = {kind.slug: kind for kind in all_problems() if kind not in {TooLarge, RateLimited}}
    return kinds.get(slug, InternalError)(detail)
