"""The part of the control API that is about webhooks: who is subscribed, what was posted, switches and forgeries."""

from urllib.parse import parse_qs

from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.clock import now
from simulator.control import Wanted, broker_of, named_user, unknown, wanted_of
from simulator.switchboard import EVERYBODY
from simulator.webhook_switches import WebhookSwitches


class _WantedForgery(Wanted):
    times: int = Field(1, ge=1, le=10_000)
    fields: dict[str, JsonValue] = Field(default_factory=dict)


def routes() -> list[Route]:
    """Return what docs/simulator.md lists about webhooks."""
    return [
        Route("/_simulator/webhooks", _webhooks, methods=["GET"]),
        Route("/_simulator/webhooks", _forget, methods=["DELETE"]),
        Route("/_simulator/investors/{user}/webhooks", _switch_posting, methods=["PUT"]),
        Route("/_simulator/investors/{user}/webhooks", _clear_switches, methods=["DELETE"]),
        Route("/_simulator/investors/{user}/webhooks/forge", _forge, methods=["POST"]),
        Route("/_simulator/switch-webhooks", _press, methods=["POST"]),
    ]


async def _webhooks(request: Request) -> Response:
    """Tell who is subscribed, and what became of what was to be posted."""
    webhooks = broker_of(request).webhooks
    tally = webhooks.tally
    return JSONResponse({
        "subscriptions": [{"userId": user_id, "callbackUrl": url} for user_id, url in webhooks.subscriptions()],
        "posted": tally.posted, "lost": tally.lost, "failed": tally.failed, "waiting": webhooks.waiting(),
        "deliveries": list(tally.deliveries),
    })  # fmt: skip


async def _forget(request: Request) -> Response:
    """Forget what was posted; the subscriptions and what waits stay."""
    broker_of(request).webhooks.tally.forget()
    return Response(status_code=204)


async def _switch_posting(request: Request) -> Response:
    """Switch how updates of one investor (or `*`) are posted; what is not named stays."""
    user, wanted = named_user(request), await wanted_of(request, WebhookSwitches)
    if user is None:
        return unknown("investor")
    broker_of(request).webhooks.turn(user, wanted)
    return Response(status_code=204)


async def _clear_switches(request: Request) -> Response:
    user = named_user(request)
    if user is None:
        return unknown("investor")
    broker_of(request).webhooks.clear(user)
    return Response(status_code=204)


async def _forge(request: Request) -> Response:
    """Post untrue claims; refused where there is no URL to post them to."""
    user, wanted = named_user(request), await wanted_of(request, _WantedForgery)
    if user is None:
        return unknown("investor")
    if not broker_of(request).webhooks.forge(user, wanted.times, dict(wanted.fields), now()):
        return JSONResponse({"error": "no webhook is subscribed"}, status_code=422)
    return Response(status_code=204)


async def _press(request: Request) -> Response:
    """Do what a button of the page says, and show the page again."""
    broker, form = broker_of(request), parse_qs((await request.body()).decode())
    investor = broker.investor(form.get("userId", [""])[0])
    user = investor.id if investor else EVERYBODY
    match form.get("action"):
        case ["lose"]:
            broker.webhooks.turn(user, WebhookSwitches(lose="all"))
        case ["duplicate"]:
            broker.webhooks.turn(user, WebhookSwitches(duplicates=1))
        case ["forge"]:
            broker.webhooks.forge(user, 1, {}, now())
        case ["restore"]:
            broker.webhooks.clear(user)
        case _:
            return unknown("action")
    return RedirectResponse("/_simulator/", status_code=303)
