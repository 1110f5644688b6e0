"""What the investor owns and where he stands today."""

from functools import partial

from fastapi import APIRouter
from pydantic import AwareDatetime

from app.broker.gateway import Gateway
from app.problem_answers import BROKER_READ, answers
from app.sessions.current import Shared, SignedIn
from app.trading import Holding, Model, Position

router = APIRouter(prefix="/v1", tags=["portfolio"])


class HoldingList(Model):
    """All holdings, and the moment (UTC) at which the broker was asked."""

    holdings: list[Holding]
    as_of: AwareDatetime


class PositionList(Model):
    """All positions of the day, and the moment (UTC) at which the broker was asked."""

    positions: list[Position]
    as_of: AwareDatetime


@router.get("/holdings", responses=answers(*BROKER_READ))
async def list_holdings(*, investor: SignedIn, shared: Shared) -> HoldingList:
    """List what lies in the investor's depository account."""
    reading = await shared.read("holdings", partial(investor.ask, Gateway.holdings))
    return HoldingList(holdings=reading.answer, as_of=reading.as_of)


@router.get("/positions", responses=answers(*BROKER_READ))
async def list_positions(*, investor: SignedIn, shared: Shared) -> PositionList:
    """List the positions of the day; an empty list means flat, and nothing else is ever shown as one."""
    reading = await shared.read("positions", partial(investor.ask, Gateway.positions))
    return PositionList(positions=reading.answer, as_of=reading.as_of)
