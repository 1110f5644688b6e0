"""Two processes on one store of permits: together they are let through what one may be, and each call once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from app.safeguards.counting import Bucket
from tests.conftest import empty
from tests.support.hammering import hammer
from tests.support.permits import STORES, Permits, a_bucket, a_window, fullest, opened_permits


@pytest.fixture(params=STORES)
async def permits(request: pytest.FixtureRequest, database_url: str, valkey_url: str) -> AsyncIterator[Permits]:
    async with opened_permits(database_url if request.param == "postgres" else valkey_url) as opened:
        yield opened
    await empty(database_url)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        yield pool


def shared_buckets() -> list[Bucket]:
    """Build what calls count in: the first for all of them, then two users, then two exchanges."""
    return [
        a_bucket(a_window(0.05, 10), a_window(0.4, 50)),
        a_bucket(a_window(0.06, 4), a_window(0.3, 15, 12)),
        a_bucket(a_window(0.1, 6), a_window(0.25, 9)),
        a_bucket(a_window(0.07, 3)),
        a_bucket(a_window(0.2, 12, 9)),
    ]


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.drill)])
async def test_two_processes_keep_the_limits_together(
    permits: Permits, processes: ProcessPoolExecutor, seconds: float
) -> None:
    start, buckets, loop = a_bucket(a_window(60, 2)), shared_buckets(), asyncio.get_running_loop()
    each_granted = await asyncio.gather(
        *(loop.run_in_executor(processes, hammer, permits.url, start, buckets, seed, seconds) for seed in (0, 1000))
    )
    assert all(each_granted)
    together = sum(each_granted, Counter())
    _, logs = await permits.log.read([each.key for each in buckets])
    for bucket, log in zip(buckets, logs, strict=True):
        assert len(log) == together[bucket.key] > 0
        assert log == sorted(set(log))
        assert all(fullest(log, each.length) <= each.usable for each in bucket.allowances)
