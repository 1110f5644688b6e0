"""Who the investor is at the broker."""

from fastapi import APIRouter

from app.broker.gateway import Gateway
from app.dependencies import State
from app.problem_answers import BROKER_READ, answers
from app.problems import BrokerFault
from app.profile.masking import masked
from app.sessions.asking import asking
from app.sessions.current import Shared, SignedIn
from app.trading import Profile

router = APIRouter(prefix="/v1", tags=["profile"])


@router.get("/profile", responses=answers(*BROKER_READ))
async def read_profile(*, investor: SignedIn, shared: Shared, state: State) -> Profile:
    """Read the profile; e-mail, mobile, PAN and depository accounts are masked unless the operator shows them whole."""
    reading = await shared.read("profile", asking(Gateway.profile))
    if reading.answer.id != investor.user_id:
        raise BrokerFault("The broker answered with the profile of somebody else.")
    return reading.answer if state["settings"].profile_unmasked else masked(reading.answer)
