"""Alive, and able: what a load balancer asks."""

from typing import Literal

from fastapi import APIRouter

from app.dependencies import State
from app.problem_answers import answers
from app.problems import TemporarilyUnavailable
from app.tables import SCHEMA_REVISION
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
async def read_readiness(*, state: State) -> Health:
    """Answer well while the database is there and its schema is not behind this release."""
    revision = await state["db"].schema_revision()
    if revision is None or revision < SCHEMA_REVISION:
        raise TemporarilyUnavailable("The database's schema is behind this release; run `partner migrate`.")
    return Health()
