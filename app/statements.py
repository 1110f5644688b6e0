"""Single statements over bare connections, for what comes with every request: no transaction, no ORM, no queue.

Half of what a statement costs through the engine is the engine, and half of the rest asyncpg's pool. Whoever holds one
of its connections may ask for one of these: they have nobody to wait for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from math import inf
from typing import Any, NamedTuple, Self

import asyncpg
from pydantic import SecretStr

from app.clock import monotonic
from app.db import told_as_unavailable

PATIENCE = 1.0
"""Seconds, the wait for a connection included: when the database hangs, a queue is no way to find out."""

_LAST_WORDS = (
    asyncio.CancelledError,  # whoever asked has left, and the answer is still to come
    TimeoutError,  # we have waited long enough
    asyncpg.InternalClientError,  # the server has taken its leave
    asyncpg.ReadOnlySQLTransactionError,  # a standby by now; the next connection may lead to the new primary
)
"""After these a connection is of no use any more."""

_LONGEST_AGE = 1800.0
"""Seconds, as those of the engine: one that stands on a primary of before would go on answering as things were then.

Where losses are counted a write tells sooner, and an end of our own would count as one.
"""

_Connect = Callable[[], Awaitable[Any]]


class _Kept(NamedTuple):
    connection: Any
    made_at: float


class Statements:
    """A few such connections."""

    def __init__(self, connect: _Connect, most: int, patience: float, longest_age: float) -> None:
        self._connect = connect
        self._longest_age = longest_age
        self.patience = patience
        """Seconds for which an answer is waited for."""
        self._room = asyncio.Semaphore(most)
        self._free: list[_Kept] = []
        self._is_closed = False

    @classmethod
    def of(
        cls, url: SecretStr, *, most: int, patience: float = PATIENCE, on_lost: Callable[[], None] | None = None
    ) -> Self:
        """Return what opens `most` connections; they come with the first statements, so that nothing waits for a start.

        asyncpg reads the URL itself, as the engine has it do; a standby is none that we would believe. An answer is
        waited for `patience` seconds. `on_lost` is called whenever a connection has ended.
        """

        async def connect() -> asyncpg.Connection:  # type: ignore[no-any-unimported]  # asyncpg has no types
            made = await asyncpg.connect(
                url.get_secret_value(), timeout=patience, command_timeout=patience, target_session_attrs="primary"
            )
            if on_lost is not None:
                made.add_termination_listener(lambda _connection: on_lost())
            return made

        return cls(connect, most, patience, _LONGEST_AGE if on_lost is None else inf)

    async def aclose(self) -> None:
        """Take leave of the server, unless it does not answer."""
        self._is_closed = True
        async with AsyncExitStack() as stack:
            for each, _ in self._free:
                stack.callback(each.terminate)  # which a connection that has said good-bye does not mind
            with suppress(OSError, asyncpg.InterfaceError, asyncpg.PostgresError):  # TimeoutError is one of the first
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*(each.close() for each, _ in self._free))

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        """Return what the statement gives, each row with its columns as attributes of a mapping.

        Raises `TemporarilyUnavailable`, when patience is at its end at the latest.
        """
        async with told_as_unavailable():
            if not self._room.locked() and (kept := self._kept()):
                async with self._room:
                    return await self._asked(kept, statement, arguments)
            async with asyncio.timeout(self.patience), self._room:
                return await self._asked(self._kept() or await self._made(), statement, arguments)

    async def row(self, statement: str, *arguments: object) -> Any:
        """Return the first row, none where there is none; raises what `rows` does."""
        found = await self.rows(statement, *arguments)
        return found[0] if found else None

    async def _made(self) -> _Kept:
        made_at = monotonic()
        return _Kept(await self._connect(), made_at)

    def _kept(self) -> _Kept | None:
        """Return a connection that still stands, none where one has to be made."""
        while self._free:
            kept = self._free.pop()
            if kept.made_at + self._longest_age < monotonic():
                kept.connection.terminate()
            elif not kept.connection.is_closed():
                return kept
        return None

    async def _asked(self, by: _Kept, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        """Put the statement; the driver itself keeps the time of each."""
        try:
            found: list[Any] = await by.connection.fetch(statement, *arguments)
        except _LAST_WORDS:
            by.connection.terminate()  # else it is not free before a server that may hang has confirmed the end
            raise
        finally:
            self._put_back(by)
        return found

    def _put_back(self, used: _Kept) -> None:
        if self._is_closed:
            used.connection.terminate()
        elif not used.connection.is_closed():
            self._free.append(used)
