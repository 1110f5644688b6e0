"""The control API below `/_simulator/`: switches, shortcuts and the list of what was received. A tool for loopback."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.calls import CALLS
from simulator.faults import FAULTS
from simulator.pages import switches_page
from simulator.shapes import shape_names
from simulator.state import Broker, Fault

_SHAPE_SWITCHES = frozenset(f"{call}={shape}" for call in CALLS for shape in shape_names(call))


def routes() -> list[Route]:
    """Return everything that docs/simulator.md lists."""
    base = "/_simulator"
    return [
        Route(f"{base}/", _page, methods=["GET"]),
        Route(f"{base}/switch", _switch, methods=["POST"]),
        Route(f"{base}/state", _state, methods=["GET"]),
        Route(f"{base}/reset", _reset, methods=["POST"]),
        Route(f"{base}/app", _change_app, methods=["PUT"]),
        Route(f"{base}/codes", _hand_out_code, methods=["POST"]),
        Route(f"{base}/requests", _requests, methods=["GET"]),
        Route(f"{base}/requests", _forget_requests, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}/expire", _expire, methods=["POST"]),
        Route(f"{base}/investors/{{user}}/faults/{{call}}", _set_fault, methods=["PUT"]),
        Route(f"{base}/investors/{{user}}/faults/{{call}}", _clear_fault, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}/faults", _clear_faults, methods=["DELETE"]),
        Route(f"{base}/investors/{{user}}/shapes/{{call}}", _set_shape, methods=["PUT"]),
    ]


def _broker(request: Request) -> Broker:
    broker: Broker = request.app.state.broker
    return broker


async def _page(request: Request) -> Response:
    return HTMLResponse(switches_page(_broker(request)))


async def _state(request: Request) -> Response:
    """Tell what is switched on and how often each call was received."""
    broker = _broker(request)
    return JSONResponse({
        "app": {
            "appCode": broker.config.app_code, "redirectUrl": broker.app.redirect_url, "approved": broker.app.approved,
        },
        "investors": [{"id": each.id, "name": each.name, "about": each.about} for each in broker.investors.values()],
        "faults": [{"userId": user, "call": call, "fault": each.name} for (user, call), each in broker.faults.items()],
        "shapes": [{"userId": user, "call": call, "shape": shape} for (user, call), shape in broker.shapes.items()],
        "received": {call: sum(each["call"] == call for each in broker.requests) for call in CALLS},
    })  # fmt: skip


async def _reset(request: Request) -> Response:
    _broker(request).reset()
    return Response(status_code=204)


async def _change_app(request: Request) -> Response:
    """Change how the vendor's app and the exchange behave; what is not named stays."""
    app, wanted = _broker(request).app, await request.json()
    app.redirect_url = wanted.get("redirectUrl", app.redirect_url)
    app.approved = wanted.get("approved", app.approved)
    app.exchange_paths = tuple(wanted.get("exchangePaths", app.exchange_paths))
    app.missing_answer = wanted.get("missingAnswer", app.missing_answer)
    app.html_for_unknown_paths = wanted.get("htmlForUnknownPaths", app.html_for_unknown_paths)
    return Response(status_code=204)


async def _hand_out_code(request: Request) -> Response:
    """Return what a login would append to the redirect URL."""
    broker, wanted = _broker(request), await request.json()
    investor = broker.investor(str(wanted.get("userId")))
    if investor is None:
        return _unknown("investor")
    return JSONResponse({"authCode": broker.hand_out_code(investor), "userId": investor.sso_id})


async def _requests(request: Request) -> Response:
    """List what was received, in order; `call` and `userId` narrow it."""
    wanted = {name: value for name, value in request.query_params.items() if name in {"call", "userId"}}
    received = _broker(request).requests
    found = [each for each in received if all(each[name] == value for name, value in wanted.items())]
    return JSONResponse({"requests": found})


async def _forget_requests(request: Request) -> Response:
    _broker(request).requests.clear()
    return Response(status_code=204)


async def _expire(request: Request) -> Response:
    _broker(request).expire(request.path_params["user"])
    return Response(status_code=204)


async def _set_fault(request: Request) -> Response:
    """Switch a fault on for one investor (or `*`) and one call (or `*`)."""
    user, call, wanted = request.path_params["user"], request.path_params["call"], await request.json()
    if call not in ("*", *CALLS) or wanted.get("fault") not in FAULTS:
        return _unknown("call or fault")
    _broker(request).faults[user, call] = Fault(wanted["fault"], wanted.get("times"), wanted.get("seconds"))
    return Response(status_code=204)


async def _clear_fault(request: Request) -> Response:
    _broker(request).faults.pop((request.path_params["user"], request.path_params["call"]), None)
    return Response(status_code=204)


async def _clear_faults(request: Request) -> Response:
    _clear(_broker(request), request.path_params["user"])
    return Response(status_code=204)


async def _set_shape(request: Request) -> Response:
    """Switch the shape of one call's answers for one investor."""
    user, call, wanted = request.path_params["user"], request.path_params["call"], await request.json()
    if call not in CALLS or wanted.get("shape") not in shape_names(call):
        return _unknown("call or shape")
    _broker(request).shapes[user, call] = wanted["shape"]
    return Response(status_code=204)


async def _switch(request: Request) -> Response:
    """Do what a button of the page says, and show the page again."""
    broker = _broker(request)
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
        case "set" if kind in FAULTS:
            broker.faults[user, call] = Fault(kind)
        case "set" if kind in _SHAPE_SWITCHES:
            shaped, _, shape = kind.partition("=")
            broker.shapes[user, shaped] = shape
        case _:
            return _unknown("action")
    return RedirectResponse("/_simulator/", status_code=303)


def _clear(broker: Broker, user: str) -> None:
    broker.faults = {key: fault for key, fault in broker.faults.items() if key[0] != user}
    broker.shapes = {key: shape for key, shape in broker.shapes.items() if key[0] != user}


def _unknown(what: str) -> Response:
    return JSONResponse({"error": f"unknown {what}"}, status_code=422)
