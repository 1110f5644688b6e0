"""The control API below `/_simulator/`: switches, shortcuts and the list of what was received. A tool for loopback."""

import re
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qs

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.calls import CALLS
from simulator.faults import FAULTS
from simulator.pages import switches_page
from simulator.shapes import shape_names
from simulator.state import Broker, Fault

_ID = re.compile(r"[A-Z0-9]{1,16}")
_SHAPE_SWITCHES = frozenset(f"{call}={shape}" for call in CALLS for shape in shape_names(call))


def _known_fault(name: str) -> str:
    if name not in FAULTS:
        raise ValueError("no such fault")
    return name


def _rooted(path: str) -> str:
    return "/" + path.lstrip("/")


class Wanted(BaseModel):
    """A body of the control API; an unknown key is refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class _WantedFault(Wanted):
    fault: Annotated[str, AfterValidator(_known_fault)]
    times: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, ge=0, le=600)
    after: bool = False


class _WantedShape(Wanted):
    shape: str


class _WantedCode(Wanted):
    user_id: str


class _WantedInvestor(Wanted):
    like: str


class _WantedApp(Wanted):
    """How the vendor's app and the exchange are to behave; what is not named stays."""

    redirect_url: str | None = None
    approved: bool | None = None
    exchange_paths: tuple[Annotated[str, AfterValidator(_rooted)], ...] | None = None
    missing_answer: Literal["404", "405", "invalid-parameter"] | None = None
    html_for_unknown_paths: bool | None = None


W = TypeVar("W", bound=BaseModel)


def routes() -> list[Route]:
    """Return everything that docs/simulator.md lists."""
    base = "/_simulator"
    return [
        Route(base, _to_page, methods=["GET"]),
        Route(f"{base}/", _page, methods=["GET"]),
        Route(f"{base}/switch", _switch, methods=["POST"]),
        Route(f"{base}/state", _state, methods=["GET"]),
        Route(f"{base}/reset", _reset, methods=["POST"]),
        Route(f"{base}/app", _change_app, methods=["PUT"]),
        Route(f"{base}/codes", _hand_out_code, methods=["POST"]),
        Route(f"{base}/requests", _requests, methods=["GET"]),
        Route(f"{base}/requests", _forget_requests, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}", _add_investor, methods=["PUT"]),
        Route(f"{base}/investors/{{user}}/expire", _expire, methods=["POST"]),
        Route(f"{base}/investors/{{user}}/faults/{{call}}", _set_fault, methods=["PUT"]),
        Route(f"{base}/investors/{{user}}/faults/{{call}}", _clear_fault, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}/faults", _clear_faults, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}/shapes/{{call}}", _set_shape, methods=["PUT"]),
    ]


def broker_of(request: Request) -> Broker:
    broker: Broker = request.app.state.broker
    return broker


async def wanted_of(request: Request, kind: type[W]) -> W:
    """Read what is wanted; a body that can't be is answered with 422 by the application."""
    return kind.model_validate_json(await request.body())


async def _to_page(_request: Request) -> Response:
    return RedirectResponse("/_simulator/", status_code=303)


async def _page(request: Request) -> Response:
    return HTMLResponse(switches_page(broker_of(request)))


async def _state(request: Request) -> Response:
    """Tell what is switched on and how often each call was received."""
    broker = broker_of(request)
    return JSONResponse({
        "app": {
            "appCode": broker.config.app_code, "redirectUrl": broker.app.redirect_url, "approved": broker.app.approved,
        },
        "investors": [{"id": each.id, "name": each.name, "about": each.about} for each in broker.investors.values()],
        "faults": [
            {"userId": user, "call": call, "fault": each.name, "after": each.after}
            for (user, call), each in broker.faults.items()
        ],
        "shapes": [{"userId": user, "call": call, "shape": shape} for (user, call), shape in broker.shapes.items()],
        "orders": broker.books.switches.listed(), "pricesMove": broker.books.market.is_moving,
        "webhooks": broker.webhooks.switches.listed(),
        "received": {call: sum(each["call"] == call for each in broker.requests) for call in CALLS},
    })  # fmt: skip


async def _reset(request: Request) -> Response:
    broker_of(request).reset()
    return Response(status_code=204)


async def _change_app(request: Request) -> Response:
    wanted = await wanted_of(request, _WantedApp)
    for name, value in wanted.model_dump(exclude_none=True).items():
        setattr(broker_of(request).app, name, value)
    return Response(status_code=204)


async def _hand_out_code(request: Request) -> Response:
    """Return what a login would append to the redirect URL."""
    broker, wanted = broker_of(request), await wanted_of(request, _WantedCode)
    investor = broker.investor(wanted.user_id)
    if investor is None:
        return unknown("investor")
    return JSONResponse({"authCode": broker.hand_out_code(investor), "userId": investor.sso_id})


async def _requests(request: Request) -> Response:
    """List what was received, in order; `call` and `userId` narrow it."""
    wanted = {name: value for name, value in request.query_params.items() if name in {"call", "userId"}}
    received = broker_of(request).requests
    found = [each for each in received if all(each[name] == value for name, value in wanted.items())]
    return JSONResponse({"requests": found})


async def _forget_requests(request: Request) -> Response:
    broker_of(request).requests.clear()
    return Response(status_code=204)


async def _add_investor(request: Request) -> Response:
    """Take in somebody like another investor, under an id that nobody has."""
    broker, wanted, user_id = broker_of(request), await wanted_of(request, _WantedInvestor), request.path_params["user"]
    model = broker.investor(wanted.like)
    if model is None:
        return unknown("investor")
    if broker.investor(user_id) or not _ID.fullmatch(user_id):
        return JSONResponse({"error": "an id is 1 to 16 of A-Z0-9, and nobody else's"}, status_code=422)
    broker.add_investor(user_id, model)
    return Response(status_code=204)


async def _expire(request: Request) -> Response:
    user = named_user(request)
    if user is None:
        return unknown("investor")
    broker_of(request).expire(user)
    return Response(status_code=204)


async def _set_fault(request: Request) -> Response:
    """Switch a fault on for one investor (or `*`) and one call (or `*`)."""
    user, call, wanted = named_user(request), request.path_params["call"], await wanted_of(request, _WantedFault)
    if user is None or call not in ("*", *CALLS):
        return unknown("investor or call")
    broker_of(request).faults[user, call] = Fault(wanted.fault, wanted.times, wanted.seconds, wanted.after)
    return Response(status_code=204)


async def _clear_fault(request: Request) -> Response:
    broker_of(request).faults.pop((named_user(request) or "", request.path_params["call"]), None)
    return Response(status_code=204)


async def _clear_faults(request: Request) -> Response:
    _clear(broker_of(request), named_user(request) or "")
    return Response(status_code=204)


async def _set_shape(request: Request) -> Response:
    """Switch the shape of one call's answers for one investor (or `*`)."""
    user, call, wanted = named_user(request), request.path_params["call"], await wanted_of(request, _WantedShape)
    if user is None or call not in CALLS or wanted.shape not in shape_names(call):
        return unknown("investor, call or shape")
    broker_of(request).shapes[user, call] = wanted.shape
    return Response(status_code=204)


async def _switch(request: Request) -> Response:
    """Do what a button of the page says, and show the page again."""
    broker = broker_of(request)
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    user, call, kind = form.get("userId", ""), form.get("call", "*"), form.get("kind", "")
    match form.get("action"):
        case "approve" | "disapprove" as wanted:
            broker.app.approved = wanted == "approve"
        case "reset":
            broker.reset()
        case "expire":
            broker.expire(user)
        case "clear":
            _clear(broker, user)
            broker.books.clear_switches(user)
            broker.webhooks.clear(user)
        case "set" if kind in FAULTS and call in ("*", *CALLS):
            broker.faults[user, call] = Fault(kind, after="after" in form)
        case "shape" if kind in _SHAPE_SWITCHES:
            shaped, _, shape = kind.partition("=")
            broker.shapes[user, shaped] = shape
        case _:
            return unknown("action")
    return RedirectResponse("/_simulator/", status_code=303)


def named_user(request: Request) -> str | None:
    """Return the investor a path names, in his own spelling, or `*` for all; none for one that there is not."""
    named = request.path_params["user"]
    investor = broker_of(request).investor(named)
    return investor.id if investor else ("*" if named == "*" else None)


def _clear(broker: Broker, user: str) -> None:
    broker.faults = {key: fault for key, fault in broker.faults.items() if key[0] != user}
    broker.shapes = {key: shape for key, shape in broker.shapes.items() if key[0] != user}


def unknown(what: str) -> Response:
    return JSONResponse({"error": f"unknown {what}"}, status_code=422)
