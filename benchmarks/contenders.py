"""Who is measured: our two stores and the library `limits`, each asked for leave for one call of one user."""

from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import quote

import asyncpg
from pydantic import SecretStr
from redis.asyncio import Redis
from typing_extensions import override

from app.limits import Window
from app.safeguards.counting import Allowance, Bucket, PermitStore
from app.safeguards.counting_postgres import PostgresPermits
from app.safeguards.counting_redis import RedisPermits

try:
    import limits
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

    LIMITS_VERSION: str | None = limits.__version__
except ImportError:
    LIMITS_VERSION = None


class Contender(Protocol):
    """One way to be asked for leave."""

    async def may(self, user: str) -> bool:
        """Count one call of a user in all windows, or refuse it."""

    async def bytes_kept(self) -> int:
        """Return what everything that is remembered occupies."""

    async def aclose(self) -> None:
        """Close the connections."""


class Ours(Contender):
    """A store of ours: all windows in one question."""

    def __init__(self, store: PermitStore, windows: Iterable[Window]) -> None:
        self._store = store
        self._allowances = tuple(
            Allowance(str(each.seconds), each.seconds, each.seconds, each.limit, each.limit) for each in windows
        )

    @override
    async def may(self, user: str) -> bool:
        return (await self._store.take([Bucket(f"user:{user}:order", self._allowances)])).is_granted

    @override
    async def aclose(self) -> None:
        await self._store.aclose()


class OnPostgres(Ours):
    """Ours, in the database."""

    def __init__(self, store: PostgresPermits, url: str, windows: Iterable[Window]) -> None:
        super().__init__(store, windows)
        self._url = url

    @classmethod
    async def open(cls, url: str, windows: Iterable[Window]) -> "OnPostgres":
        return cls(PostgresPermits.of(SecretStr(url)), url, windows)

    @override
    async def bytes_kept(self) -> int:
        connection = await asyncpg.connect(self._url)
        try:
            return int(
                await connection.fetchval(
                    "SELECT pg_total_relation_size('rate_heads') + pg_total_relation_size('rate_permits')"
                )
            )
        finally:
            await connection.close()


class OnValkey(Ours):
    """Ours, in Valkey."""

    def __init__(self, url: str, windows: Iterable[Window]) -> None:
        super().__init__(RedisPermits.open(SecretStr(url)), windows)
        self._url = url

    @override
    async def bytes_kept(self) -> int:
        return await _bytes_in_valkey(self._url)


class Limits(Contender):
    """`limits` on the same server: one question for each window, in turn, until one refuses."""

    def __init__(self, url: str, windows: Sequence[Window], *, is_exact: bool = True) -> None:
        self._url = url
        path, _, database = url.removeprefix("unix://").partition("?")
        uri = f"async+redis+unix://{quote(path, safe='/%')}?{database}"
        self._storage = RedisStorage(uri, implementation="redispy")
        strategy = MovingWindowRateLimiter if is_exact else SlidingWindowCounterRateLimiter
        self._limiter = strategy(self._storage)
        self._items = [limits.RateLimitItemPerSecond(each.limit, each.seconds) for each in windows]

    @override
    async def may(self, user: str) -> bool:
        for item in self._items:
            if not await self._limiter.hit(item, user):
                return False
        return True

    @override
    async def bytes_kept(self) -> int:
        return await _bytes_in_valkey(self._url)

    @override
    async def aclose(self) -> None:
        await self._storage.bridge.get_connection().aclose()


async def _bytes_in_valkey(url: str) -> int:
    async with Redis.from_url(url) as redis:
        sizes = [await redis.memory_usage(key, samples=0) async for key in redis.scan_iter(count=1000)]
        return sum(filter(None, sizes))
