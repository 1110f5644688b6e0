"""What an answer of the broker's came to, for as long as he gives the very same one and nothing has happened since."""

import asyncio
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

from app.clock import monotonic

Version = tuple[int, ...]
"""Numbers that grow, or change, with whatever the answer came to depends on."""

_BELIEVED_FOR = 10.0  # seconds; what changes without raising its user's numbers is seen by then
_MOST_ROWS = 5_000  # of all users; a row takes about two kilobytes


@dataclass(frozen=True)
class _Known:
    answer: Sized
    version: Version
    came_to: Any
    at: float


class Unchanged:
    """What one process knows so; `came_to` is whatever was kept, and nobody may change it."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._known: dict[str, _Known] = {}
        self._rows = 0
        self._forgetting: asyncio.TimerHandle | None = None

    def recall(self, user_id: str, answer: Sized, version: Version | None) -> Any | None:
        """Return what this very object came to under the same numbers of the user's, none where it may be otherwise."""
        known = self._known.get(user_id)
        if known is None or known.answer is not answer or known.version != version:
            return None
        return known.came_to if self._now() - known.at < _BELIEVED_FOR else None

    def keep(self, user_id: str, answer: Sized, version: Version | None, came_to: object) -> None:
        """Remember what an answer came to, unless nobody knows under which numbers."""
        self._drop(user_id)
        if version is None:
            return
        self._known[user_id] = _Known(answer, version, came_to, self._now())
        self._rows += len(answer)
        self._drop_what_is_too_much()
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().call_later(_BELIEVED_FOR, self._forget)

    def _forget(self) -> None:
        """Drop what is too old also where nobody asks any more: it is somebody's orders."""
        self._forgetting = None
        self._drop_what_is_too_much()
        if self._known:
            self._forgetting = asyncio.get_running_loop().call_later(_BELIEVED_FOR, self._forget)

    def _drop_what_is_too_much(self) -> None:
        """Drop the oldest, which come first: a dictionary keeps the order in which it was filled."""
        too_old = self._now() - _BELIEVED_FOR
        while self._known:
            user_id, oldest = next(iter(self._known.items()))
            if oldest.at > too_old and self._rows <= _MOST_ROWS:
                return
            self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        if (known := self._known.pop(user_id, None)) is not None:
            self._rows -= len(known.answer)
