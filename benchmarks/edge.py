"""How many calls each lets through in one second when they come as a window's edge would have them come."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

from benchmarks.contenders import Contender

_QUIET_UNTIL = 0.9  # seconds after the first call, which opens the window: the rest of it is spent just before its end
_UNTIL = 2.2  # seconds; the second window has then been spent, and the third begun
_GAP = 0.004  # seconds between two calls


class Granted(NamedTuple):
    """A call that was let through at some moment between the two."""

    asked_at: float
    answered_at: float


async def fullest_second(contender: Contender) -> int:
    """Return how many calls surely passed within one second: from the first's question to the last's answer."""
    granted: list[Granted] = []

    async def ask() -> None:
        asked_at = perf_counter()
        if await contender.may("edge"):
            granted.append(Granted(asked_at, perf_counter()))

    begun_at = perf_counter()
    await ask()
    await asyncio.sleep(_QUIET_UNTIL)
    while perf_counter() - begun_at < _UNTIL:
        await ask()
        await asyncio.sleep(_GAP)
    return _fullest(granted)


def _fullest(granted: Sequence[Granted]) -> int:
    return max(
        sum(each.answered_at - first.asked_at < 1 for each in granted[place:]) for place, first in enumerate(granted)
    )
