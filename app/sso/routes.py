"""The way to the broker's login and the way back; failures are pages for a browser that came by itself."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.broker.values import text
from app.dependencies import Cookies, ProcessState, State, caller_address
from app.pages import Button, content_security_policy, page
from app.problem_answers import answers
from app.problems import (
    AuthCodeUsed,
    BrokerFault,
    BrokerRateLimited,
    BrokerTimeout,
    BrokerUnavailable,
    CrossSiteRequest,
    InvalidRequest,
    LoginAttemptMissing,
    LoginRefused,
    RateLimited,
    TemporarilyUnavailable,
    UserBlocked,
    UserMismatch,
)
from app.rendering import SWITCH
from app.safeguards.addresses import address_prefix, counted_address
from app.sessions.current import HooksOf, key_ring, means_of
from app.sessions.tokens import token_of_cookie
from app.settings import Settings
from app.sso.attempts import LIFETIME, begin_attempt, read_attempts
from app.sso.exchange import Callback, SignIn
from app.sso.return_urls import return_url
from app.sso.spending import were_left_alone
from app.sso.switching import is_leave
from app.urls import origin_of, web_url

router = APIRouter(prefix="/sso", tags=["sign-in"])

_NO_TRACE = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_AUTH_CODE = re.compile(r"[A-Za-z0-9._~-]{1,128}")  # the family's are 20 of A-Z0-9
_AGAIN = "again"  # the parameter of somebody who has read the page of help
_USER_ID = re.compile(r"[A-Za-z0-9._@-]{1,32}")


def _text_parameter(name: str, description: str, *, is_required: bool) -> dict[str, object]:
    return {
        "name": name,
        "in": "query",
        "required": is_required,
        "description": description,
        "schema": {"type": "string"},
    }


async def counted_visit(request: Request, state: State) -> str:
    """Count a visit of somebody's browser and return under which address; raises `RateLimited`.

    What no person visits is refused before: another page could use up a whole address with its pictures.
    """
    _refuse_what_nobody_visits(request)
    address = counted_address(caller_address(request, state["settings"]))
    await state["limiter"].admit_sign_in(address)
    return address


Visit = Annotated[str, Depends(counted_visit)]


@router.get(
    "/login",
    status_code=303,
    response_class=Response,
    responses=answers(InvalidRequest, CrossSiteRequest, RateLimited, TemporarilyUnavailable)
    | {
        200: {
            "description": "A page with a button, when another site sent the browser here, or when the broker has not "
            "sent it back twice",
            "content": {"text/html": {}},
        }
    },
    openapi_extra={
        "parameters": [
            _text_parameter("return_to", "Where to go after the sign-in, within FRONTEND_ORIGINS", is_required=False),
            _text_parameter(
                SWITCH,
                "As the `loginUrl` of `user-mismatch` has it: another client may take the place of the one "
                "who is signed in",
                is_required=False,
            ),
            _text_parameter(_AGAIN, "Whatever it says: the page of help has been read", is_required=False),
        ]
    },
)
async def begin_login(*, request: Request, state: State, _address: Visit) -> Response:
    """Send the browser to the broker's login and remember, in that browser, that a login was begun."""
    settings = state["settings"]
    return_to = return_url(request.query_params.getlist("return_to"), settings)
    if request.headers.get("sec-fetch-site") == "cross-site":
        return _ask_first(settings, return_to)
    ring, cookie = key_ring(request), Cookies(settings).of(request, Cookies(settings).login)
    attempts = read_attempts(ring, cookie or "", state["clock"].now())
    if _AGAIN not in request.query_params and await were_left_alone(state["db"], attempts, state["clock"].now()):
        return _help(request, settings, return_to)
    may_switch = _has_leave(request, state)
    return _to_the_broker(state, begin_attempt(ring, attempts, return_to, state["clock"].now(), may_switch=may_switch))


@router.get(
    "/callback",
    status_code=303,
    response_class=Response,
    responses=answers(
        InvalidRequest, LoginAttemptMissing, AuthCodeUsed, LoginRefused, UserMismatch, UserBlocked, CrossSiteRequest,
        BrokerTimeout, BrokerUnavailable, BrokerRateLimited, BrokerFault, TemporarilyUnavailable, RateLimited,
    ),
    openapi_extra={
        "parameters": [
            _text_parameter("authCode", "As the broker appended it", is_required=True),
            _text_parameter("userId", "As the broker appended it", is_required=True),
        ]
    },
)  # fmt: skip
async def finish_login(*, request: Request, state: State, address: Visit, hooks: HooksOf) -> Response:
    """Come back from the broker: exchange the code, begin the session, go on to the return URL."""
    settings, cookies = state["settings"], Cookies(state["settings"])
    _refuse_strange_referer(request, settings)
    _refuse_look_alike(request, cookies)
    done = await SignIn(settings, means_of(request), hooks).complete(_callback(request, settings, cookies))
    if done.is_first:
        await state["limiter"].forgive_sign_in(address, visits=2)  # the way to the broker and the way back
    response = RedirectResponse(done.return_to, status_code=303, headers=_NO_TRACE)
    age = int(settings.session_absolute_timeout.total_seconds())
    cookies.put(response, cookies.session, done.token.get_secret_value(), max_age=age)
    return response


def _has_leave(request: Request, state: ProcessState) -> bool:
    cookies = Cookies(state["settings"])
    session = token_of_cookie(cookies.of(request, cookies.session))
    return is_leave(key_ring(request), session, request.query_params.get(SWITCH))


def _to_the_broker(state: ProcessState, cookie: str) -> Response:
    settings, cookies = state["settings"], Cookies(state["settings"])
    response = RedirectResponse(settings.login_url, status_code=303, headers=_NO_TRACE)
    cookies.put(response, cookies.login, cookie, max_age=int(LIFETIME.total_seconds()))
    return response


def _callback(request: Request, settings: Settings, cookies: Cookies) -> Callback:
    return Callback(
        auth_code=_parameter(request, "authCode", _AUTH_CODE),
        user_id=_parameter(request, "userId", _USER_ID),
        login_cookie=cookies.of(request, cookies.login) or "",
        former_token=token_of_cookie(cookies.of(request, cookies.session)),
        user_agent=(text(request.headers.get("user-agent")) or "")[:200] or None,
        address_prefix=address_prefix(caller_address(request, settings)),
    )


def _parameter(request: Request, name: str, allowed: re.Pattern[str]) -> str:
    """Return one parameter of the callback.

    The same value twice, as `X,X` or under a repeated key, was met at a sibling broker and is read as one; two
    different values are refused, since nobody can say which of them the broker meant.
    """
    given = {part for value in request.query_params.getlist(name) for part in value.split(",")}
    value = next(iter(given), "")
    if len(given) == 1 and allowed.fullmatch(value):
        return value
    detail = "is missing" if not given else "is given more than once, too long, or not of the broker's form"
    raise InvalidRequest(errors=[{"pointer": f"/query/{name}", "detail": detail}])


def _refuse_what_nobody_visits(request: Request) -> None:
    """Refuse a picture, a frame, a script or a prefetch: signing in is a visit of a person, in a window of its own."""
    given = request.headers
    is_visit = (
        given.get("sec-fetch-mode", "navigate") == "navigate" and given.get("sec-fetch-dest", "document") == "document"
    )
    if not is_visit or "prefetch" in given.get("sec-purpose", given.get("purpose", "")):
        raise CrossSiteRequest("A sign-in is a visit of the browser's window, not a part of another page.")


def _refuse_strange_referer(request: Request, settings: Settings) -> None:
    """Refuse a callback that a page other than the broker's or ours led to; most browsers send the origin alone."""
    referer = request.headers.get("referer")
    if referer and _origin(referer) not in settings.broker_origins | settings.known_origins:
        raise CrossSiteRequest("This login was brought here by another site than the broker's.")


def _refuse_look_alike(request: Request, cookies: Cookies) -> None:
    """Refuse a callback where it can't be said who is signed in: he could be put into another's account unseen."""
    if cookies.is_doubtful(request, cookies.session):
        raise CrossSiteRequest("This browser has two cookies that call themselves ours. Delete them and begin again.")


def _origin(referer: str) -> str | None:
    try:
        return origin_of(web_url(referer))
    except ValueError:
        return None


def _ask_first(settings: Settings, return_to: str) -> Response:
    """Let a person decide, where another site would have begun a login in his name."""
    said = ["Another site has sent you here. If you want to sign in, go on to the broker's login."]
    return _page(settings, "Sign in with Gopocket", said, (("return_to", return_to),))


def _help(request: Request, settings: Settings, return_to: str) -> Response:
    """Tell somebody whom the broker has not sent back what may be the reason, before he is sent there once more."""
    said = [
        "Two sign-ins were begun in this browser, and Gopocket has not sent you back from either.",
        "If its page said that the app is not active or not approved, please tell those who run this service.",
        "If you closed its page, or it did not take your password, simply try again.",
    ]
    leave = request.query_params.get(SWITCH)
    fields = (("return_to", return_to), (_AGAIN, "true"), *(((SWITCH, leave),) if leave else ()))
    return _page(settings, "Did Gopocket not let you go on?", said, fields)


def _page(settings: Settings, title: str, said: list[str], fields: tuple[tuple[str, str], ...]) -> Response:
    html = page(title, said, button=Button("Go on to Gopocket", settings.sign_in_url, fields))
    policy = content_security_policy(*settings.sign_in_targets)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"})
