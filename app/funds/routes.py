"""What the investor can trade with."""

from fastapi import APIRouter

from app.broker.gateway import Gateway
from app.problem_answers import BROKER_READ, answers
from app.sessions.current import SignedIn
from app.trading import Funds

router = APIRouter(prefix="/v1", tags=["funds"])


@router.get("/funds", responses=answers(*BROKER_READ))
async def read_funds(*, investor: SignedIn) -> Funds:
    """Read margins and balances, in rupees."""
    reading = await investor.ask(Gateway.funds)
    return reading.answer
