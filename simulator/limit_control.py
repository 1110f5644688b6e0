"""The part of the control API that is about limits: what was received, what was over them, and which there are."""

from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.control import Wanted, broker_of, wanted_of

_Category = Literal["order", "data", "nonTrading"]
_Length = Literal["1", "60", "3600", "86400"]
_Limit = Annotated[int, Field(ge=1)]


class _WantedLimits(Wanted):
    """How the limits are to be; what is not named, or null, stays."""

    enforced: bool | None = None
    table: dict[_Category, dict[_Length, _Limit]] | None = None
    orders_per_second_per_exchange: _Limit | None = None


def routes() -> list[Route]:
    """Return what docs/simulator.md lists about limits."""
    return [
        Route("/_simulator/limits", _limits, methods=["GET"]),
        Route("/_simulator/limits", _change_limits, methods=["PUT"]),
        Route("/_simulator/limits", _forget_limits, methods=["DELETE"]),
    ]


async def _limits(request: Request) -> Response:
    """Tell the limits and what has become of them since they were last forgotten."""
    limits = broker_of(request).limits
    return JSONResponse({
        "enforced": limits.is_enforced, "table": limits.table,
        "ordersPerSecondPerExchange": limits.orders_per_second_per_exchange, "received": limits.received,
        "refused": limits.refused | {"exchange": limits.refused_at_an_exchange}, "refusedTotal": limits.refused_calls,
        "users": limits.received_from, "worst": limits.worst,
    })  # fmt: skip


async def _change_limits(request: Request) -> Response:
    limits, wanted = broker_of(request).limits, await wanted_of(request, _WantedLimits)
    if wanted.enforced is not None:
        limits.is_enforced = wanted.enforced
    if wanted.orders_per_second_per_exchange is not None:
        limits.orders_per_second_per_exchange = wanted.orders_per_second_per_exchange
    named = (wanted.table or {}).items()
    limits.change({category: {int(length): limit for length, limit in each.items()} for category, each in named})
    return Response(status_code=204)


async def _forget_limits(request: Request) -> Response:
    broker_of(request).limits.forget()
    return Response(status_code=204)
