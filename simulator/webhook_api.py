"""The broker's two webhook calls (contract §8): where a user's order updates are posted, and where no more."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.broker_api import caller, unauthorized
from simulator.calls import WEBHOOK_PATHS
from simulator.order_forms import Refusal, SubscriptionForm, read_form
from simulator.shapes import LIST_OF_ENVELOPES, nothing, ok
from simulator.state import Broker


def routes() -> list[Route]:
    """Return both."""
    return [Route(path, _change, methods=["POST"], name=call) for call, path in WEBHOOK_PATHS.items()]


async def _change(request: Request) -> Response:
    """Subscribe the caller's user to a URL, or unsubscribe him from it."""
    broker: Broker = request.app.state.broker
    investor, call = caller(request), request.scope["route"].name
    if investor is None:
        return unauthorized()
    content = await request.json()
    change = {"subscribe": broker.webhooks.subscribe, "unsubscribe": broker.webhooks.unsubscribe}[call]
    try:
        change(investor.id, read_form(SubscriptionForm, content).callback_url)
        answer: Any = ok([])
    except Refusal as refusal:
        answer = nothing(str(refusal))
    is_list = broker.shape(investor.id, call, "current") == LIST_OF_ENVELOPES
    return JSONResponse([answer] if is_list else answer)
