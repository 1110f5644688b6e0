"""One look at the database for all who ask at the same moment whether an earlier answer may still be shown.

Each of them is told what was true after he had asked: whoever comes while a look is under way waits for the next one.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from app.gathering import Gathering

T = TypeVar("T")

Look = Callable[[set[str]], Awaitable[Mapping[str, T]]]

_MOST = 10_000  # users in one look


class Refreshing(Generic[T]):
    """The looks of one process, one at a time."""

    def __init__(self, look: Look[T], *, patience: float) -> None:
        """Take what looks, and how many seconds somebody waits for it."""
        self._look = look
        self._looks: Gathering[str, Mapping[str, T]] = Gathering(self._looked, most=_MOST, patience=patience)

    async def of(self, user_id: str) -> T:
        """Return what is found of a user by a look that begins from now on; raises what the look does."""
        return (await self._looks.put(user_id))[user_id]

    async def _looked(self, user_ids: list[str]) -> list[Mapping[str, T]]:
        found = await self._look(set(user_ids))
        return [found] * len(user_ids)
