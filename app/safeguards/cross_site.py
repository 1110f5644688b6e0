"""Whether another site caused a request: judged by what browsers say of themselves, before any session is looked up."""

from dataclasses import dataclass

EVENT_STREAM = "/v1/order-updates"
"""Read for hours over one request: another site that opened it would keep one of the user's connections."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_READING_METHODS = frozenset({"GET", "HEAD"})
_OURS = frozenset({"same-origin", "none"})


@dataclass(frozen=True)
class Provenance:
    """What a request's headers say about where it came from."""

    method: str
    path: str
    origin: str | None
    fetch_site: str | None
    has_cookie: bool


def is_cross_site(request: Provenance, known_origins: frozenset[str]) -> bool:
    """Say whether an unsafe request, or one for the event stream, must be refused.

    An `Origin`, where one is sent, must be known; without one `Sec-Fetch-Site` must say same-origin or none; a cookie
    with neither header is no browser of today. A caller without either header and without a cookie has nothing that
    another site could abuse.
    """
    if not _is_judged(request):
        return False
    if request.origin is not None:
        return request.origin not in known_origins
    if request.fetch_site is not None:
        return request.fetch_site not in _OURS
    return request.has_cookie


def _is_judged(request: Provenance) -> bool:
    """Say whether a request does something, or opens the stream; asking what is allowed does neither."""
    opens_stream = request.method in _READING_METHODS and request.path == EVENT_STREAM
    return opens_stream or request.method not in _SAFE_METHODS
