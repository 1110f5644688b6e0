"""What the investor can trade with."""

from fastapi import APIRouter

from app.broker.gateway import Gateway
from app.problem_answers import BROKER_READ, answers
from app.sessions.asking import asking
from app.sessions.current import Shared
from app.trading import Funds

router = APIRouter(prefix="/v1", tags=["funds"])


@router.get("/funds", responses=answers(*BROKER_READ))
async def read_funds(shared: Shared) -> Funds:
    """Read margins and balances, in rupees."""
    reading = await shared.read("funds", asking(Gateway.funds))
    return reading.answer
