"""What is left of the broker's limits, so that a frontend can slow down before it is refused."""

from typing import get_args

from fastapi import APIRouter

from app.dependencies import State
from app.ordering import Exchange
from app.problem_answers import SESSION, answers
from app.problems import TemporarilyUnavailable
from app.safeguards.quotas import Standing
from app.sessions.current import SignedIn
from app.trading import Model

router = APIRouter(prefix="/v1", tags=["rate limits"])


class RateLimitWindow(Model):
    """One window as it stands; calls kept for cancels are no part of `remaining`.

    `resetSeconds` is when more is left: where none is, when one more call is possible, else when the oldest one leaves.
    """

    seconds: int
    limit: int
    remaining: int
    reset_seconds: int


class RateLimitCategory(Model):
    """`order` (place, modify, cancel, convert), `data`, `non-trading` (all else), or `order-NSE` for one exchange."""

    category: str
    windows: list[RateLimitWindow]


class RateLimits(Model):
    """Every window of the signed-in user's, over all his devices and tabs."""

    categories: list[RateLimitCategory]


@router.get("/rate-limits", responses=answers(*SESSION, TemporarilyUnavailable))
async def read_rate_limits(*, investor: SignedIn, state: State) -> RateLimits:
    """Show every window of the broker's limits; asks the broker nothing."""
    standings = await state["limiter"].all_standings(investor.user_id, get_args(Exchange))
    return RateLimits(categories=[_category(name, standing) for name, standing in standings.items()])


def _category(name: str, standing: Standing) -> RateLimitCategory:
    windows = [
        RateLimitWindow(
            seconds=each.seconds, limit=each.limit, remaining=each.remaining, reset_seconds=each.reset_seconds
        )
        for each in standing.quotas
    ]
    return RateLimitCategory(category=name, windows=windows)
