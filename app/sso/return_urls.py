"""Where a browser may be sent after a sign-in: to our frontends and nowhere else."""

from app.problems import InvalidRequest
from app.settings import Settings
from app.urls import origin_of, web_url

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
        is_ours = origin_of(web_url(wanted[0])) in settings.frontend_origins
    except ValueError as error:
        raise _refusal(str(error)) from error
    if not is_ours:
        raise _refusal("is not within this service's frontends")
    return wanted[0]


def _refusal(detail: str) -> InvalidRequest:
    return InvalidRequest(errors=[{"pointer": "/query/return_to", "detail": detail}])
