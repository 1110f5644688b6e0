"""No commit of a permit waits for the disk: what a crash of the database has taken with it is counted once more."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from pydantic import SecretStr
from typing_extensions import override

from app.limits import Category, Demand, Permit, Window
from app.problems import TemporarilyUnavailable
from app.safeguards.counting import Bucket, PermitStore, Tally, Weakness
from app.safeguards.counting_postgres import PostgresPermits
from app.safeguards.rate_policy import Policy, user_key
from app.safeguards.ratelimit import RateLimiter
from app.schema import migrate_schema
from tests.support.replicas import until
from workbench.servers import Postgres

ASHA = Demand(Category.NON_TRADING, "AB1234")
KEY = user_key("AB1234", Category.NON_TRADING)
POLICY = Policy(
    user={Category.NON_TRADING: (Window(86_400, 100_000),)}, app={}, orders_per_second_per_exchange=0,
    reserve=Decimal(0), guard=0.25, sign_ins_per_address=0, are_reads_spared=False,
)  # fmt: skip


class Remembering(PermitStore):
    """Counts in memory, forgets when it is told to, and may be slow or away."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.losses_told = 0
        self.is_away = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.waiting = 0

    @property
    @override
    def losses(self) -> int:
        return self.losses_told

    def forget(self) -> None:
        self.counted.clear()
        self.losses_told += 1

    @override
    async def take(self, buckets: Sequence[Bucket]) -> Tally:
        if self.is_away:
            raise TemporarilyUnavailable
        self.counted += [each.key for each in buckets]
        answer = Tally(is_granted=True, pause=0.0, counts=())
        self.waiting += 1
        await self.go_on.wait()
        self.waiting -= 1
        return answer

    @override
    async def look(self, buckets: Sequence[Bucket]) -> Tally:
        return Tally(is_granted=True, pause=0.0, counts=())

    @override
    async def give_back(self, key: str) -> None:
        raise AssertionError

    @override
    async def pause(self, key: str, seconds: float | None) -> float:
        raise AssertionError

    @override
    async def purge(self) -> int:
        return 0

    @override
    async def weaknesses(self) -> list[Weakness]:
        return []

    @override
    async def aclose(self) -> None:
        pass


UNCOUNTED = Policy(
    user={}, app={}, orders_per_second_per_exchange=0, reserve=Decimal(0), guard=0.25, sign_ins_per_address=0,
    are_reads_spared=False,
)  # fmt: skip
"""Its buckets have no windows: the stores above need to tell nothing of any."""


async def test_what_was_counted_just_before_a_loss_is_counted_again_however_late_it_is_seen() -> None:
    store = Remembering()
    limiter = RateLimiter(store, UNCOUNTED)
    for _ in range(5):
        await limiter.take(ASHA)
    store.forget()
    await asyncio.sleep(2.1)  # longer than a store may forget: a quiet night lies between
    await limiter.take(ASHA)
    assert len(store.counted) == 6
    await limiter.take(ASHA)
    assert len(store.counted) == 7  # once more, and not each time


async def test_what_is_granted_as_the_store_is_lost_is_counted_again_too() -> None:
    """Its answer was on its way when the connection of another ended."""
    store = Remembering()
    limiter = RateLimiter(store, UNCOUNTED)
    store.go_on.clear()
    asking = asyncio.create_task(limiter.take(ASHA))
    while not store.waiting:  # noqa: ASYNC110  # it comes with the loop's next rounds
        await asyncio.sleep(0)
    store.forget()
    other = asyncio.create_task(limiter.take(ASHA))  # who sees the loss before the first has his answer
    while store.waiting < 2:  # noqa: ASYNC110  # the same
        await asyncio.sleep(0)
    store.go_on.set()
    await asyncio.gather(asking, other)
    await limiter.take(ASHA)
    assert len(store.counted) >= 3


async def test_what_is_to_be_counted_late_is_not_lost_with_who_was_to_count_it() -> None:
    store = Remembering()
    limiter = RateLimiter(store, UNCOUNTED)
    for _ in range(3):
        await limiter.take(ASHA)
    store.forget()
    store.go_on.clear()
    leaving = asyncio.create_task(limiter.take(ASHA))
    while not store.waiting:  # noqa: ASYNC110  # it comes with the loop's next rounds
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    store.counted.clear()  # it may not have been counted: nobody has heard
    store.go_on.set()
    await limiter.take(ASHA)
    assert len(store.counted) == 4


async def test_a_store_that_is_away_when_it_is_to_be_counted_again_is_told_later() -> None:
    store = Remembering()
    limiter = RateLimiter(store, UNCOUNTED)
    for _ in range(3):
        await limiter.take(ASHA)
    store.forget()
    store.is_away = True
    for _ in range(2):
        with pytest.raises(TemporarilyUnavailable):
            await limiter.take(ASHA)
    store.is_away = False

    async def granted() -> Permit | None:
        try:
            return await limiter.take(ASHA)
        except TemporarilyUnavailable:  # it is left alone for half a second
            return None

    await until(granted)
    assert len(store.counted) == 4


# A database that is killed.


@pytest.fixture
def cluster() -> Iterator[Postgres]:
    with TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o711)
        with Postgres(Path(folder) / "pg", durable=True) as server:
            migrate_schema(SecretStr(server.url()))
            yield server


@pytest.fixture
async def replicas(cluster: Postgres) -> AsyncIterator[list[RateLimiter]]:
    """Give the limiters of two processes, before a database that flushes so rarely that a crash forgets for certain."""
    rows = await asyncpg.connect(cluster.url())
    await rows.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await rows.execute("ALTER SYSTEM SET autovacuum = off")
    await rows.execute("SELECT pg_reload_conf()")
    await rows.execute("CHECKPOINT")
    await rows.close()
    stores = [PostgresPermits.of(SecretStr(cluster.url())) for _ in range(2)]
    yield [RateLimiter(store, POLICY) for store in stores]
    for store in stores:
        await store.aclose()


async def counted(cluster: Postgres) -> int:
    rows = await asyncpg.connect(cluster.url())
    try:
        return int(await rows.fetchval("SELECT count(*) FROM rate_permits WHERE key = $1", KEY))
    finally:
        await rows.close()


@pytest.mark.parametrize("rest", [0.0, 2.5], ids=["busy", "quiet"])
async def test_after_a_crash_the_windows_hold_at_least_what_was_let_through(
    rest: float, cluster: Postgres, replicas: list[RateLimiter]
) -> None:
    """`rest` is for how many seconds nobody asks afterwards."""
    for limiter in replicas:
        await limiter.take(ASHA)
    granted = 2
    crowd = [asyncio.create_task(limiter.take(ASHA)) for limiter in replicas for _ in range(40)]
    await asyncio.wait(crowd[:10])
    await asyncio.to_thread(cluster.kill)
    ends = await asyncio.gather(*crowd, return_exceptions=True)
    granted += sum(isinstance(each, Permit) for each in ends)
    assert {type(each) for each in ends} <= {Permit, TemporarilyUnavailable}
    await asyncio.to_thread(cluster.start)
    remembered = await counted(cluster)
    assert remembered < granted, "the crash forgot nothing, and so this proves nothing"
    await asyncio.sleep(rest)

    async def all_granted() -> bool:
        ends = await asyncio.gather(*(limiter.take(ASHA) for limiter in replicas), return_exceptions=True)
        nonlocal granted
        granted += sum(isinstance(each, Permit) for each in ends)
        return all(isinstance(each, Permit) for each in ends)

    await until(all_granted)
    assert await counted(cluster) >= granted
