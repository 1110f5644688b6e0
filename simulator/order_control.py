"""The part of the control API that is about orders: prices, the market's hours, switches, and what was taken."""

from decimal import Decimal
from typing import Annotated
from urllib.parse import parse_qs

from pydantic import Field, RootModel, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.clock import now
from simulator.control import Wanted, broker_of, named_user, unknown, wanted_of
from simulator.order_switches import OrderSwitches
from simulator.orders import Order, written

_Price = Annotated[str, StringConstraints(pattern=r"^\d{1,9}(\.\d{1,4})?$")]


class _WantedPrices(RootModel[dict[Annotated[str, Field(min_length=1)], _Price]]):
    pass


class _WantedMarket(Wanted):
    moving: bool


def routes() -> list[Route]:
    """Return what docs/simulator.md lists about orders."""
    return [
        Route("/_simulator/investors/{user}/orders", _switch_orders, methods=["PUT"]),
        Route("/_simulator/investors/{user}/orders", _clear_orders, methods=["DELETE"]),
        Route("/_simulator/orders", _orders, methods=["GET"]),
        Route("/_simulator/prices", _prices, methods=["GET"]),
        Route("/_simulator/prices", _set_prices, methods=["PUT"]),
        Route("/_simulator/market", _change_market, methods=["PUT"]),
        Route("/_simulator/market-open", _open_market, methods=["POST"]),
        Route("/_simulator/day-end", _end_day, methods=["POST"]),
        Route("/_simulator/switch-market", _switch_market, methods=["POST"]),
    ]


async def _switch_orders(request: Request) -> Response:
    """Switch how the orders of one investor (or `*`) are treated; what is not named stays."""
    user, wanted = named_user(request), await wanted_of(request, OrderSwitches)
    if user is None:
        return unknown("investor")
    broker_of(request).books.switches.turn(user, wanted)
    return Response(status_code=204)


async def _clear_orders(request: Request) -> Response:
    """Put every switch back, and show what was hidden."""
    user = named_user(request)
    if user is None:
        return unknown("investor")
    broker_of(request).books.clear_switches(user)
    return Response(status_code=204)


async def _orders(request: Request) -> Response:
    """List every order that was taken, in the order of receipt; `userId` and `tradingSymbol` narrow it."""
    wanted = {name: value for name, value in request.query_params.items() if name in {"userId", "tradingSymbol"}}
    found = [
        _taken(order)
        for order in broker_of(request).books.taken(now())
        if all(order.identity[name] == value for name, value in wanted.items())
    ]
    return JSONResponse({"orders": found})


async def _prices(request: Request) -> Response:
    market = broker_of(request).books.market
    return JSONResponse({symbol: written(price) for symbol, price in market.prices.items()})


async def _set_prices(request: Request) -> Response:
    wanted = await wanted_of(request, _WantedPrices)
    broker_of(request).books.set_prices({symbol: Decimal(price) for symbol, price in wanted.root.items()}, now())
    return Response(status_code=204)


async def _change_market(request: Request) -> Response:
    wanted = await wanted_of(request, _WantedMarket)
    broker_of(request).books.market.is_moving = wanted.moving
    return Response(status_code=204)


async def _open_market(request: Request) -> Response:
    broker_of(request).books.open_market(now())
    return Response(status_code=204)


async def _end_day(request: Request) -> Response:
    broker_of(request).books.end_day(now())
    return Response(status_code=204)


async def _switch_market(request: Request) -> Response:
    """Do what a button of the page says, and show the page again."""
    books = broker_of(request).books
    match parse_qs((await request.body()).decode()).get("action"):
        case ["open"]:
            books.open_market(now())
        case ["end"]:
            books.end_day(now())
        case ["move" | "stop" as wanted]:
            books.market.is_moving = wanted == "move"
        case _:
            return unknown("action")
    return RedirectResponse("/_simulator/", status_code=303)


def _taken(order: Order) -> dict[str, object]:
    return {
        "orderNo": order.number, "userId": order.identity["userId"], "remarks": order.remarks or None,
        "at": order.taken_at.timestamp(), "item": order.item, "qty": order.terms.qty, "status": order.status,
    }  # fmt: skip
