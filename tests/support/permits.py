"""Both stores of permits, each with a hand in its exact log: to read it, and to let time pass in it."""

import uuid
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import asyncpg
from pydantic import SecretStr
from redis.asyncio import Redis

from app.safeguards.counting import Allowance, Bucket, Count, PermitStore
from app.safeguards.counting_postgres import PostgresPermits
from app.safeguards.counting_redis import RedisPermits

STORES = ["postgres", "valkey"]
MICRO = 1_000_000

_AGE_IN_VALKEY = """
local passed = tonumber(ARGV[1])
local function expire(key, left)
    if left > 0 then redis.call('PEXPIRE', key, math.max(left - math.floor(passed / 1000), 0)) end
end
for _, key in ipairs(KEYS) do
    local log, left, pause = redis.call('ZRANGE', key, 0, -1), redis.call('PTTL', key), key .. ':pause'
    redis.call('DEL', key)
    for _, moment in ipairs(log) do
        local older = string.format('%.0f', tonumber(moment) - passed)
        redis.call('ZADD', key, older, older)
    end
    expire(key, left)
    if redis.call('EXISTS', pause) == 1 then
        redis.call('HINCRBY', pause, 'until', string.format('%.0f', -passed))
        expire(pause, redis.call('PTTL', pause))
    end
end
"""


class Log(Protocol):
    """What a store has let through, in microseconds of its own clock."""

    async def read(self, keys: Sequence[str]) -> tuple[int, list[list[int]]]:
        """Return what time it is there, and each key's moments, oldest first."""

    async def let_pass(self, seconds: float, keys: Sequence[str]) -> None:
        """Make all of these keys older, their pauses too: the store can't tell it from time that has passed."""

    async def is_known(self, key: str) -> bool:
        """Return whether anything of a key is kept."""


class PostgresLog(Log):
    def __init__(self, rows: asyncpg.Connection) -> None:
        self.rows = rows

    async def read(self, keys: Sequence[str]) -> tuple[int, list[list[int]]]:
        found = await self.rows.fetchrow(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, ARRAY("
            "   SELECT key || '=' || (extract(epoch FROM at) * 1000000)::bigint FROM rate_permits"
            "   WHERE key = ANY ($1) ORDER BY number)",
            keys,
        )
        pairs = [each.rpartition("=") for each in found[1]]
        return found[0], [[int(moment) for key, _, moment in pairs if key == wanted] for wanted in keys]

    async def let_pass(self, seconds: float, keys: Sequence[str]) -> None:
        age = f"interval '{round(seconds * MICRO)} microseconds'"
        async with self.rows.transaction():
            await self.rows.execute(
                f"UPDATE rate_heads SET counted_at = counted_at - {age}, paused_until = paused_until - {age}"
                " WHERE key = ANY ($1)",
                keys,
            )
            older = await self.rows.fetch(
                f"DELETE FROM rate_permits WHERE key = ANY ($1) RETURNING key, at - {age}, number", keys
            )
            await self.rows.executemany("INSERT INTO rate_permits (key, at, number) VALUES ($1, $2, $3)", older)

    async def is_known(self, key: str) -> bool:
        tables = "SELECT key FROM rate_heads UNION ALL SELECT key FROM rate_permits"
        return bool(await self.rows.fetchval(f"SELECT EXISTS (SELECT FROM ({tables}) WHERE key = $1)", key))


class ValkeyLog(Log):
    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._age = redis.register_script(_AGE_IN_VALKEY)

    async def read(self, keys: Sequence[str]) -> tuple[int, list[list[int]]]:
        asking = self.redis.pipeline()
        asking.time()
        for key in keys:
            asking.zrange(name_in_valkey(key), 0, -1)
        (seconds, micros), *logs = await asking.execute()
        return seconds * MICRO + micros, [[int(moment) for moment in log] for log in logs]

    async def let_pass(self, seconds: float, keys: Sequence[str]) -> None:
        await self._age(keys=[name_in_valkey(key) for key in keys], args=[round(seconds * MICRO)])

    async def is_known(self, key: str) -> bool:
        return bool(await self.redis.exists(name_in_valkey(key), f"{name_in_valkey(key)}:pause"))


def name_in_valkey(key: str) -> str:
    """Return under what name a bucket is kept; two versions of us side by side have to agree on it."""
    return f"{{gopocket-permits}}:{key}"


@dataclass(frozen=True)
class Permits:
    """A store, the log behind it, and where both are."""

    store: PermitStore
    log: Log
    url: str


@asynccontextmanager
async def opened_store(url: str) -> AsyncIterator[PermitStore]:
    """Open a store as a replica does."""
    secret = SecretStr(url)
    is_postgres = url.startswith("postgresql:")
    store: PermitStore = PostgresPermits.of(secret) if is_postgres else RedisPermits.open(secret)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def opened_permits(url: str) -> AsyncIterator[Permits]:
    """Open a store and the log behind it."""
    async with opened_store(url) as store:
        if isinstance(store, PostgresPermits):
            connection = await asyncpg.connect(url)
            try:
                yield Permits(store, PostgresLog(connection), url)
            finally:
                await connection.close()
        else:
            async with Redis.from_url(url, decode_responses=True) as redis:
                yield Permits(store, ValkeyLog(redis), url)


def a_window(seconds: float, limit: int, usable: int | None = None) -> Allowance:
    return Allowance(f"any-{seconds}", 1, seconds, limit, limit if usable is None else usable)


def a_bucket(*windows: Allowance, name: str = "") -> Bucket:
    """Build a bucket that nobody else counts in, unless it is named."""
    return Bucket(name or uuid.uuid4().hex, windows)


def fullest(moments: Sequence[int], seconds: float) -> int:
    """Return the most calls in any stretch of that length, however aligned, its end not included."""
    length = round(seconds * MICRO)
    return max((bisect_left(moments, at + length) - place for place, at in enumerate(moments)), default=0)


def standing(moments: Sequence[int], now: int, window: Allowance) -> tuple[int, int, int]:
    """Return what a window's `Count` has to be, in microseconds, by adding up its log."""
    length = round(window.length * MICRO)
    inside = [at for at in moments if now - length < at <= now]
    wait = inside[-window.usable] + length - now if len(inside) >= window.usable else 0
    return len(inside), wait, inside[0] + length - now if inside else 0


def in_micros(count: Count) -> tuple[int, int, int]:
    return count.used, round(count.wait * MICRO), round(count.reset * MICRO)
