"""Alive, and able: what a load balancer asks."""

from typing import Literal, cast

from fastapi import APIRouter, Request

from app.health.looking import Readiness
from app.problem_answers import answers
from app.problems import TemporarilyUnavailable
from app.trading import Model

router = APIRouter(tags=["health"])


class Health(Model):
    """Nothing more than that."""

    status: Literal["ok"] = "ok"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def read_liveness() -> Health:
    """Answer as long as the process runs."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=answers(TemporarilyUnavailable))
async def read_readiness(*, request: Request) -> Health:
    """Answer well while the database is there and its schema is not behind this release."""
    await cast("Readiness", request.state.readiness).check()
    return Health()
