"""The broker's own calls: the exchange of a code, the reads, and the contract master."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simulator import shapes
from simulator.calls import EXCHANGE_PATHS, READS
from simulator.clock import now
from simulator.contracts import SEGMENTS, csv_of
from simulator.faults import CANNED, HTML
from simulator.investors import Investor
from simulator.state import Broker
from simulator.wire import bearer


def routes() -> list[Route]:
    """Return every path of the broker's API that this simulator has."""
    found = [Route(path, _exchange, methods=["POST"]) for path in EXCHANGE_PATHS]
    for call, (method, paths) in READS.items():
        found.extend(
            Route(path, _history if call == "orderHistory" else _read, methods=[method], name=call) for path in paths
        )
    found.append(Route("/contract/csv/{segment}", _contracts, methods=["GET"]))
    return found


async def _exchange(request: Request) -> Response:
    """Give a session for the checksum of a code that was handed out and not yet spent."""
    broker: Broker = request.app.state.broker
    if request.url.path not in broker.app.exchange_paths:
        return _missing(broker)
    content = await request.json()
    if not isinstance(content, dict) or set(content) != {"checkSum"}:
        return JSONResponse({"status": "Not ok", "message": "Invalid request", "result": []}, status_code=400)
    investor = broker.spend(str(content["checkSum"]))
    if investor is None:
        return JSONResponse({"stat": "Not_ok", "emsg": "Invalid auth code"})
    fault = request.scope.get("fault")
    token = "" if fault == "emptyToken" else broker.log_in(investor)
    clients: dict[str, str | None] = {"otherClient": "XX9999", "noClientId": None}
    shape = broker.shape(investor.id, "exchange", "userSession")
    return JSONResponse(shapes.exchange(shape, token, clients.get(str(fault), investor.id)))


async def _read(request: Request) -> Response:
    """Answer one of the reads in the shape that is switched on."""
    broker: Broker = request.app.state.broker
    call, investor = request.scope["route"].name, caller(request)
    if investor is None:
        return unauthorized()
    wanted = broker.shape(investor.id, call, "current")
    known = shapes.SHAPES[call]
    return _wrapped(known.get(wanted, known["current"])(broker.books.seen_by(investor, now())), wanted)


async def _history(request: Request) -> Response:
    """Answer the history of one order of the caller's own."""
    broker: Broker = request.app.state.broker
    investor = caller(request)
    if investor is None:
        return unauthorized()
    content = await request.json()
    wanted = broker.shape(investor.id, "orderHistory", "current")
    make = shapes.HISTORY_SHAPES.get(wanted, shapes.order_history)
    return _wrapped(make(broker.books.seen_by(investor, now()), str(content.get("orderNo"))), wanted)


async def _contracts(request: Request) -> Response:
    segment = request.path_params["segment"]
    if segment not in SEGMENTS:
        return PlainTextResponse("Not Found", status_code=404)
    return PlainTextResponse(csv_of(segment), media_type="text/csv")


def caller(request: Request) -> Investor | None:
    """Return whom a request's token speaks for."""
    broker: Broker = request.app.state.broker
    return broker.owner_of_token(bearer(dict(request.headers)))


def _wrapped(content: dict[str, object], shape: str) -> Response:
    answer: Any = [content] if shape == shapes.LIST_OF_ENVELOPES else content
    return JSONResponse(answer)


def unauthorized() -> Response:
    """Return what a dead or missing token is answered with."""
    dead = CANNED["dead401Text"]
    return Response(dead.body, dead.status, media_type=dead.content_type)


def _missing(broker: Broker) -> Response:
    if broker.app.missing_answer == "invalid-parameter":
        return JSONResponse({"status": "Not ok", "message": "Invalid Parameter", "result": []})
    return Response(b"<html><body>Not here</body></html>", int(broker.app.missing_answer), media_type=HTML)
