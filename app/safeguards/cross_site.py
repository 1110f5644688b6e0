"""Whether another site caused a request: judged by what browsers say of themselves, before any session is looked up."""

from dataclasses import dataclass

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS = frozenset({"same-origin", "none"})


@dataclass(frozen=True)
class Provenance:
    """What a request's headers say about where it came from."""

    method: str
    origin: str | None
    fetch_site: str | None
    has_cookie: bool


def is_cross_site(request: Provenance, known_origins: frozenset[str]) -> bool:
    """Say whether an unsafe request must be refused.

    An `Origin`, where one is sent, must be known; without one `Sec-Fetch-Site` must say same-origin or none; a cookie
    with neither header is no browser of today. A caller without either header and without a cookie has nothing that
    another site could abuse.
    """
    if request.method in _SAFE_METHODS:
        return False
    if request.origin is not None:
        return request.origin not in known_origins
    if request.fetch_site is not None:
        return request.fetch_site not in _OURS
    return request.has_cookie
