"""The broker's order calls: each answers as contract §2 shows, also when it says no."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.broker_api import caller, unauthorized
from simulator.calls import ORDER_PATHS
from simulator.clock import now, time_first
from simulator.desk import Desk, Slice
from simulator.investors import Fields, Investor
from simulator.order_forms import CancelForm, ConversionForm, MarginForm, ModifyForm, PlaceForm, Refusal, read_form
from simulator.shapes import LIST_OF_ENVELOPES, nothing, ok
from simulator.state import Broker


def routes() -> list[Route]:
    """Return every path of the order calls."""
    endpoints = {"place": _place, "cancel": _cancel} | dict.fromkeys(_SINGLES, _single)
    return [
        Route(path, endpoints[call], methods=["POST"], name=call)
        for call, paths in ORDER_PATHS.items()
        for path in paths
    ]


async def _place(request: Request) -> Response:
    """Place every item of a list, each for itself, in the shape that is switched on."""
    broker: Broker = request.app.state.broker
    investor = caller(request)
    if investor is None:
        return unauthorized()
    content, at = await request.json(), now()
    shape = broker.shape(investor.id, "place", "current")
    outcomes = [_placed(broker.desk, investor, item, at) for item in _items(content)]
    match shape:
        case "2023":
            return JSONResponse(_envelope([each for outcome in outcomes for each in outcome], at))
        case "envelopePerSlice":
            return JSONResponse([_envelope([each], at) for outcome in outcomes for each in outcome])
        case _:
            return JSONResponse([_envelope(outcome, at) for outcome in outcomes])


async def _cancel(request: Request) -> Response:
    """Cancel every item of a list, each for itself."""
    broker: Broker = request.app.state.broker
    investor = caller(request)
    if investor is None:
        return unauthorized()
    content, at = await request.json(), now()
    outcomes = [_cancelled(broker.desk, investor, item, at) for item in _items(content)]
    if broker.shape(investor.id, "cancel", "current") == "object":
        return JSONResponse(_envelope(outcomes, at))
    return JSONResponse([_envelope([each], at) for each in outcomes])


async def _single(request: Request) -> Response:
    """Answer a call that takes one object and gives one envelope."""
    broker: Broker = request.app.state.broker
    investor, call = caller(request), request.scope["route"].name
    if investor is None:
        return unauthorized()
    content = await request.json()
    try:
        answer: Any = ok(_SINGLES[call](broker.desk, investor, content, now()))
    except Refusal as refusal:
        answer = nothing(str(refusal))
    is_list = broker.shape(investor.id, call, "current") == LIST_OF_ENVELOPES
    return JSONResponse([answer] if is_list else answer)


def _items(content: object) -> list[object]:
    """Return the items of a list; what is no list, or an empty one, becomes an item that no form accepts."""
    return content if isinstance(content, list) and content else [None]


def _placed(desk: Desk, investor: Investor, item: object, at: datetime) -> list[Slice]:
    try:
        return desk.place(investor, read_form(PlaceForm, item), item, at)
    except Refusal as refusal:
        return [Slice(None, str(refusal))]


def _cancelled(desk: Desk, investor: Investor, item: object, at: datetime) -> Slice:
    try:
        return Slice(desk.cancel(investor, read_form(CancelForm, item), at))
    except Refusal as refusal:
        return Slice(None, str(refusal))


def _modified(desk: Desk, investor: Investor, content: object, at: datetime) -> list[Fields]:
    return [_row(Slice(desk.modify(investor, read_form(ModifyForm, content), at)), at)]


def _weighed(desk: Desk, investor: Investor, content: object, at: datetime) -> list[Fields]:
    return [desk.margin(investor, read_form(MarginForm, content), at)]


def _converted(desk: Desk, investor: Investor, content: object, at: datetime) -> list[Fields]:
    desk.convert(investor, read_form(ConversionForm, content), at)
    return []


_SINGLES: dict[str, Callable[[Desk, Investor, object, datetime], list[Fields]]] = {
    "modify": _modified,
    "margin": _weighed,
    "convert": _converted,
}


def _envelope(slices: list[Slice], at: datetime) -> Fields:
    """Return one envelope; what was refused beside something taken is a row with words and no number."""
    if all(each.order_no is None for each in slices):
        return nothing(slices[0].words)
    return ok([_row(each, at) for each in slices])


def _row(each: Slice, at: datetime) -> Fields:
    if each.order_no is None:
        return {"status": "Not ok", "message": each.words}
    return {"requestTime": time_first(at), "orderNo": each.order_no}
