"""Where a browser may be sent after a sign-in: to our frontends and nowhere else."""

from urllib.parse import urlsplit

from app.problems import InvalidRequest
from app.settings import Settings
from app.urls import origin_of, web_url

_NO_PAGES = ("/sso/", "/v1/", "/broker/")  # a callback as a target would sign in whoever wrote it there
_UNENCODED = frozenset('"<>\\^`{|}')  # RFC 3986, 2; in the cookie's JSON some of them would double
_LONGEST = 2000  # characters; it has to fit into the attempt's cookie


def return_url(wanted: list[str], settings: Settings) -> str:
    """Return where to go after the sign-in; raises `InvalidRequest` for any place but within FRONTEND_ORIGINS."""
    if not wanted:
        return settings.default_return_url
    if len(wanted) > 1:
        raise _refusal("is given more than once")
    if len(wanted[0]) > _LONGEST:
        raise _refusal(f"has more than {_LONGEST} characters")
    try:
        origin = origin_of(web_url(wanted[0]))
    except ValueError as error:
        raise _refusal("is no absolute http or https URL") from error
    if not _UNENCODED.isdisjoint(wanted[0]):
        raise _refusal("holds characters that stand in a URL only encoded")
    if origin not in settings.frontend_origins:
        raise _refusal("is not within this service's frontends")
    if origin == settings.own_origin and urlsplit(wanted[0]).path.startswith(_NO_PAGES):
        raise _refusal("is no page")
    return wanted[0]


def _refusal(detail: str) -> InvalidRequest:
    return InvalidRequest(errors=[{"pointer": "/query/return_to", "detail": detail}])
