"""One of a user's wishes is decided at a time in this process, so that his burst does not hold every connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.problems import TemporarilyUnavailable

_PATIENCE = 3.0  # seconds


class Turns:
    """A queue for each user who is waiting."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, user_id: str) -> AsyncIterator[None]:
        """Wait for the user's turn and hold it; raises `TemporarilyUnavailable` where too many are in front."""
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        try:
            async with asyncio.timeout(_PATIENCE):
                await lock.acquire()
        except TimeoutError as error:
            raise TemporarilyUnavailable("Too many orders of this user are waiting.") from error
        try:
            yield
        finally:
            lock.release()
