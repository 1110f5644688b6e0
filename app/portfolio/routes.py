"""What the investor owns and where he stands today."""

from fastapi import APIRouter
from pydantic import AwareDatetime

from app.broker.gateway import Gateway
from app.problem_answers import BROKER_READ, answers
from app.sessions.asking import asking
from app.sessions.current import Shared
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
async def list_holdings(shared: Shared) -> HoldingList:
    """List what lies in the investor's depository account."""
    reading = await shared.read("holdings", asking(Gateway.holdings))
    return HoldingList(holdings=reading.answer, as_of=reading.as_of)


@router.get("/positions", responses=answers(*BROKER_READ))
async def list_positions(shared: Shared) -> PositionList:
    """List the positions of the day; an empty list means flat, and nothing else is ever shown as one."""
    reading = await shared.read("positions", asking(Gateway.positions))
    return PositionList(positions=reading.answer, as_of=reading.as_of)
