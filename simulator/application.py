"""The simulated broker, put together; nothing opens or reads before it is called."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from json import JSONDecodeError

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from simulator import (
    broker_api,
    control,
    limit_control,
    login,
    order_api,
    order_control,
    webhook_api,
    webhook_control,
)
from simulator.clock import now
from simulator.state import Broker, Config
from simulator.wire import Wire

_MOVE_EVERY = 1.0  # seconds
_LOOK_EVERY = 0.1  # seconds between two looks at what is due


def create_app(config: Config) -> Starlette:
    """Return a simulator with its seed."""
    broker = Broker(config)
    app = Starlette(
        routes=[
            *login.routes(),
            *control.routes(),
            *order_control.routes(),
            *limit_control.routes(),
            *webhook_control.routes(),
            *broker_api.routes(),
            *order_api.routes(),
            *webhook_api.routes(),
        ],
        lifespan=_going_on,
        middleware=[Middleware(Wire, broker=broker)],
        exception_handlers={404: _not_there, 405: _not_there, JSONDecodeError: _not_json, ValidationError: _not_wanted},
    )
    app.router.redirect_slashes = False
    app.state.broker = broker
    return app


@asynccontextmanager
async def _going_on(app: Starlette) -> AsyncIterator[None]:
    """Let happen by itself what does, for as long as the simulator runs: prices move, what is due comes, updates go."""
    broker: Broker = app.state.broker
    async with asyncio.TaskGroup() as group:
        going = [group.create_task(each(broker)) for each in (_move_prices, _reject_due)]
        yield
        for task in going:
            task.cancel()
        await broker.webhooks.close()


async def _move_prices(broker: Broker) -> None:
    while True:
        await asyncio.sleep(_MOVE_EVERY)
        if broker.books.market.is_moving:
            broker.books.move_prices(now())


async def _reject_due(broker: Broker) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        broker.books.reject_due(now())


async def _not_json(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"status": "Not ok", "message": "Invalid request", "result": []}, status_code=400)


async def _not_wanted(_request: Request, error: Exception) -> Response:
    errors = (
        error.errors(include_url=False, include_context=False, include_input=False)
        if isinstance(error, ValidationError)
        else []
    )
    return JSONResponse({"error": "the switch can't be read", "details": errors}, status_code=422)


async def _not_there(request: Request, error: Exception) -> Response:
    """Answer for a path that is not there: with 404, or with 200 and a page as some gateways do."""
    broker: Broker = request.app.state.broker
    status = 200 if broker.app.html_for_unknown_paths else getattr(error, "status_code", 404)
    return HTMLResponse("<!doctype html><html><body><h1>Gopocket</h1></body></html>", status_code=status)
