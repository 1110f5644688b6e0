"""Permits counted in Redis or Valkey: one script there, one round trip; a sorted set of moments for each bucket.

The server has to keep what it was told (`appendonly yes`) and must not evict (`maxmemory-policy noeviction`): what it
forgets, it would let through again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from app.observability import logger
from app.problems import TemporarilyUnavailable
from app.safeguards.counting import FIRST_PAUSE, LONGEST_PAUSE, QUIET, Bucket, Count, PermitStore, Tally, Weakness

_log = logger("limits")

_TIMEOUT = 1.0  # seconds; a store of permits in the same network answers in less than a millisecond
_MOST_CONNECTIONS = 16  # each is held for less than a millisecond
_PATIENCE = 0.9  # seconds until one of them is free, less than whoever holds it may take: he might wait for nothing
_PREFIX = "{gopocket-permits}:"
"""The braces keep all keys on one node of a cluster: one script decides about several."""

# KEYS: for each bucket its log and its pause. ARGV: whether it counts, and per bucket the windows as JSON. Moments are
# microseconds of the server's clock, which a double holds exactly until the year 2255.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local buckets = cjson.decode(ARGV[2])
local paused, granted, counts = 0, true, {}
for place = 1, #buckets do
    local newest = redis.call('ZRANGE', KEYS[2 * place - 1], -1, -1, 'WITHSCORES')
    if newest[2] then now = math.max(now, tonumber(newest[2]) + 1) end
    paused = math.max(paused, tonumber(redis.call('HGET', KEYS[2 * place], 'until') or 0))
end
for place = 1, #buckets do
    local log = KEYS[2 * place - 1]
    for _, allowance in ipairs(buckets[place]) do
        local length, usable = allowance[1], allowance[2]
        local after = string.format('(%.0f', now - length)
        local used = redis.call('ZCOUNT', log, after, '+inf')
        local wait, reset = 0, 0
        if used > 0 then
            local oldest = redis.call('ZRANGEBYSCORE', log, after, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
            reset = tonumber(oldest[2]) + length - now
        end
        if used >= usable then
            local leaving = redis.call('ZRANGE', log, -usable, -usable, 'WITHSCORES')
            wait = leaving[2] and tonumber(leaving[2]) + length - now or length
        end
        granted = granted and wait == 0
        counts[#counts + 1] = {used, wait, reset}
    end
end
granted = granted and paused <= now
if granted and ARGV[1] == '1' then
    local forgotten = tonumber(ARGV[3])
    for place = 1, #buckets do
        local log = KEYS[2 * place - 1]
        redis.call('ZADD', log, string.format('%.0f', now), string.format('%.0f', now))
        redis.call('ZREMRANGEBYSCORE', log, '-inf', string.format('%.0f', now - forgotten))
        redis.call('PEXPIRE', log, math.ceil(forgotten / 1000))
    end
end
return cjson.encode({granted, math.max(paused - now, 0), counts})
"""

_PAUSE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local told, first, longest, quiet = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local past = redis.call('HMGET', KEYS[1], 'until', 'seconds')
local till, before = tonumber(past[1] or 0), tonumber(past[2] or first)
local length = told
if told < 0 then
    -- Answers to calls that were under way when the pause began say nothing new.
    if till > now then length = 0 elseif till > now - quiet then length = math.min(before * 2, longest)
    else length = first end
    if length > 0 then before = length end
end
till = math.max(till, now + length)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', till), 'seconds', string.format('%.0f', before))
redis.call('PEXPIRE', KEYS[1], math.ceil((till - now + quiet) / 1000))
return string.format('%.0f', till - now)
"""

_MICROSECONDS = 1_000_000


class RedisPermits(PermitStore):
    """Redis or Valkey as the store of permits."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._pause = redis.register_script(_PAUSE)
        self._turns = asyncio.Semaphore(_MOST_CONNECTIONS)  # the pool itself turns away whom it has no connection for

    @classmethod
    def open(cls, url: SecretStr) -> Self:
        """Return a store; connections come with the first calls. Nothing is ever asked twice: it might count twice."""
        return cls(
            Redis.from_url(
                url.get_secret_value(),
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                max_connections=_MOST_CONNECTIONS,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
            )
        )

    @override
    async def take(self, buckets: Sequence[Bucket]) -> Tally:
        return await self._tally(buckets, counts_it=True)

    @override
    async def look(self, buckets: Sequence[Bucket]) -> Tally:
        return await self._tally(buckets, counts_it=False)

    async def _tally(self, buckets: Sequence[Bucket], *, counts_it: bool) -> Tally:
        windows = [[[_micros(each.length), each.usable] for each in bucket.allowances] for bucket in buckets]
        keys = [name for bucket in buckets for name in (_log_of(bucket.key), _pause_of(bucket.key))]
        kept_for = max((bucket.kept_for for bucket in buckets), default=0.0)
        async with self._turn():
            said = await self._take(keys=keys, args=[int(counts_it), json.dumps(windows), _micros(kept_for)])
        granted, paused, counts = json.loads(said)
        found = tuple(Count(int(used), wait / _MICROSECONDS, reset / _MICROSECONDS) for used, wait, reset in counts)
        return Tally(granted, paused / _MICROSECONDS, found)

    @override
    async def give_back(self, key: str) -> None:
        async with self._turn():
            await self._redis.zpopmax(_log_of(key))

    @override
    async def pause(self, key: str, seconds: float | None) -> float:
        told = -1 if seconds is None else _micros(seconds)
        lengths = [_micros(each) for each in (FIRST_PAUSE, LONGEST_PAUSE, QUIET)]
        async with self._turn():
            return float(await self._pause(keys=[_pause_of(key)], args=[told, *lengths])) / _MICROSECONDS

    @override
    async def purge(self) -> int:
        """Return 0: every key carries its own end."""
        return 0

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with _told_as_unavailable():
            async with asyncio.timeout(_PATIENCE):
                await self._turns.acquire()
            try:
                yield
            finally:
                self._turns.release()

    @property
    @override
    def losses(self) -> int:
        """Say none: it keeps what it was told, or else is not set up to be relied upon (`weaknesses`)."""
        return 0

    @override
    async def weaknesses(self) -> list[Weakness]:
        try:
            said: dict[str, Any] = await self._redis.info("persistence") | await self._redis.info("memory")
        except (RedisError, OSError) as error:
            return [("limit_store_not_asked", {"error": type(error).__name__})]
        found: list[Weakness] = []
        if not said.get("aof_enabled"):
            why = "appendonly is off: after a restart, calls would be counted anew"
            found.append(("limit_store_forgets", {"why": why}))
        if said.get("maxmemory_policy", "noeviction") != "noeviction":
            found.append(("limit_store_evicts", {"policy": str(said["maxmemory_policy"])}))
        return found


@asynccontextmanager
async def _told_as_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        _log.error("limit_store_unavailable", error=type(error).__name__)
        raise TemporarilyUnavailable from error


def _micros(seconds: float) -> int:
    return round(seconds * _MICROSECONDS)


def _log_of(key: str) -> str:
    return f"{_PREFIX}{key}"


def _pause_of(key: str) -> str:
    return f"{_PREFIX}{key}:pause"
