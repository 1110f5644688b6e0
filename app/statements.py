"""Single statements over bare connections, for what comes with every request: no transaction, no ORM, no queue.

Half of what a statement costs through the engine is the engine. Whoever holds one of its connections may ask for one of
these: they have nobody to wait for.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import asyncpg
from pydantic import SecretStr

from app.db import told_as_unavailable

PATIENCE = 1.0
"""Seconds, the wait for a connection included: when the database hangs, a queue is no way to find out."""

_FOR_EVER = 2**62  # queries; a connection that we ended ourselves would look like one that the server has lost

_LAST_WORDS = (
    asyncio.CancelledError,  # we have waited long enough
    asyncpg.InternalClientError,  # the server has taken its leave
    asyncpg.ReadOnlySQLTransactionError,  # a standby by now; the next connection may lead to the new primary
)
"""After these a connection is of no use any more."""


class Statements:
    """A small pool of such connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:  # type: ignore[no-any-unimported]  # asyncpg has no types
        self._pool = pool

    @classmethod
    async def open(cls, url: SecretStr, *, most: int, on_lost: Callable[[], None] | None = None) -> Self:
        """Return a pool of `most` connections; they come with the first statements, so that nothing waits for a start.

        asyncpg reads the URL itself, as the engine has it do. `on_lost` is called whenever a connection has ended.
        """

        async def watch(connection: asyncpg.Connection) -> None:  # type: ignore[no-any-unimported]  # the same
            if on_lost is not None:
                connection.add_termination_listener(lambda _connection: on_lost())

        pool = await asyncpg.create_pool(
            url.get_secret_value(),
            min_size=0,
            max_size=most,
            max_queries=_FOR_EVER,
            max_inactive_connection_lifetime=0,
            timeout=PATIENCE,
            command_timeout=PATIENCE,
            init=watch,
            reset=_leave_as_it_is,
        )
        return cls(pool)

    async def aclose(self) -> None:
        """Take leave of the server, unless it does not answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._pool.close()
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError):  # TimeoutError is one of the first
            self._pool.terminate()

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        """Return what the statement gives, each row with its columns as attributes of a mapping.

        Raises `TemporarilyUnavailable` after a second at the latest.
        """
        async with told_as_unavailable(), asyncio.timeout(PATIENCE), self._pool.acquire() as connection:
            try:
                found: list[Any] = await connection.fetch(statement, *arguments)
            except _LAST_WORDS:
                connection.terminate()  # else it is not free before a server that may hang has confirmed the end
                raise
            return found

    async def row(self, statement: str, *arguments: object) -> Any:
        """Return the first row, none where there is none; raises what `rows` does."""
        found = await self.rows(statement, *arguments)
        return found[0] if found else None


async def _leave_as_it_is(_connection: object) -> None:
    """Save the round trip after each statement: none of them changes anything of its connection."""
