"""Permits counted in Postgres: one function there, one round trip, on connections that nothing else waits for."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import asyncpg
from pydantic import SecretStr
from typing_extensions import override

from app.db import open_pool, told_as_unavailable
from app.safeguards.counting import (
    ADDRESS_KEPT_FOR,
    ADDRESS_PREFIX,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_WINDOW,
    QUIET,
    Bucket,
    Count,
    PermitStore,
    Tally,
)

_TIMEOUT = 1.0  # seconds, the wait for a connection included: when the database hangs, a queue is no way to find out

_LAST_WORDS = (
    asyncio.CancelledError,  # we have waited long enough
    asyncpg.InternalClientError,  # the server has taken its leave
    asyncpg.ReadOnlySQLTransactionError,  # a standby by now; the next connection may lead to the new primary
)
"""After these a connection is of no use any more."""

_TAKE = "SELECT * FROM take_permit($1, $2, $3, $4, $5)"
_GIVE_BACK = "SELECT give_permit_back($1)"
_PAUSE = "SELECT pause_permits($1, $2, $3, $4, $5)"
_PURGE = """
WITH dropped AS (
    DELETE FROM rate_heads WHERE key IN (
        SELECT key FROM rate_heads
        WHERE coalesce(greatest(counted_at, paused_until), '-infinity') <= clock_timestamp() - make_interval(
            secs => CASE WHEN starts_with(key, $2) THEN CAST($3 AS float8) ELSE $1 END
        )
        LIMIT 25 FOR UPDATE SKIP LOCKED
    ) RETURNING key
), permits AS (
    DELETE FROM rate_permits USING dropped WHERE rate_permits.key = dropped.key
)
SELECT count(*) FROM dropped
"""


class PostgresPermits(PermitStore):
    """The database as the store of permits."""

    def __init__(self, pool: asyncpg.Pool) -> None:  # type: ignore[no-any-unimported]  # asyncpg has no types
        self._pool = pool

    @classmethod
    async def open(cls, url: SecretStr) -> Self:
        """Return a store; connections come with the first calls, so that a database that is away stops no start."""
        return cls(await open_pool(url))

    @override
    async def take(self, buckets: Sequence[Bucket]) -> Tally:
        return await self._tally(buckets, counts_it=True)

    @override
    async def look(self, buckets: Sequence[Bucket]) -> Tally:
        return await self._tally(buckets, counts_it=False)

    async def _tally(self, buckets: Sequence[Bucket], *, counts_it: bool) -> Tally:
        given = [(place, each) for place, bucket in enumerate(buckets, 1) for each in bucket.allowances]
        row = await self._ask(
            _TAKE,
            [bucket.key for bucket in buckets],
            [place for place, _ in given],
            [each.length for _, each in given],
            [each.usable for _, each in given],
            counts_it,
        )
        counts = zip(row["used"] or (), row["waits"] or (), row["resets"] or (), strict=True)
        return Tally(row["granted"], row["paused"], tuple(Count(*each) for each in counts))

    @override
    async def give_back(self, key: str) -> None:
        await self._ask(_GIVE_BACK, key)

    @override
    async def pause(self, key: str, seconds: float | None) -> float:
        row = await self._ask(_PAUSE, key, seconds, FIRST_PAUSE, LONGEST_PAUSE, QUIET)
        return float(row[0])

    @override
    async def purge(self) -> int:
        """Drop some at a time: the day after a busy one has more than one statement may do."""
        dropped = 0
        while row := await self._ask(_PURGE, LONGEST_WINDOW, ADDRESS_PREFIX, ADDRESS_KEPT_FOR):
            if not row[0]:
                break
            dropped += row[0]
        return dropped

    @override
    async def aclose(self) -> None:
        await self._pool.close()

    async def _ask(self, statement: str, *arguments: object) -> Any:
        async with told_as_unavailable(), asyncio.timeout(_TIMEOUT), self._pool.acquire() as connection:
            try:
                return await connection.fetchrow(statement, *arguments)
            except _LAST_WORDS:
                connection.terminate()  # else it is not free before a server that may hang has confirmed the end
                raise
