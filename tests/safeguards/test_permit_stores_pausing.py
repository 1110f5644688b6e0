"""A pause that the broker asked for, in both stores: as long as he said, else longer each time, and forgotten again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.safeguards.counting import FIRST_PAUSE, LONGEST_PAUSE, QUIET
from tests.conftest import empty
from tests.support.permits import STORES, Permits, a_bucket, a_window, opened_permits

SLACK = 0.5  # seconds that may pass between two calls on a busy machine


@pytest.fixture(scope="module", params=STORES)
async def permits(request: pytest.FixtureRequest, database_url: str, valkey_url: str) -> AsyncIterator[Permits]:
    async with opened_permits(database_url if request.param == "postgres" else valkey_url) as opened:
        yield opened
    await empty(database_url)


async def paused(permits: Permits, key: str) -> float:
    """Return for how long nothing is let through any more."""
    tally = await permits.store.look([a_bucket(name=key)])
    assert tally.is_granted is (tally.pause == 0)
    return tally.pause


def about(seconds: float) -> object:
    return pytest.approx(seconds - SLACK / 2, abs=SLACK / 2)


async def test_nothing_is_let_through_before_a_pause_has_ended(permits: Permits) -> None:
    bucket, other = a_bucket(a_window(60, 9)), a_bucket(a_window(60, 9))
    assert await permits.store.pause(bucket.key, None) == about(FIRST_PAUSE)
    for buckets in ([bucket], [other, bucket], [bucket, other]):
        tally = await permits.store.take(buckets)
        assert not tally.is_granted
        assert tally.pause == about(FIRST_PAUSE)
        assert {(each.used, each.wait) for each in tally.counts} == {(0, 0)}
    assert (await permits.store.take([other])).is_granted
    await permits.log.let_pass(FIRST_PAUSE, [bucket.key])
    tally = await permits.store.take([bucket])
    assert (tally.is_granted, tally.pause) == (True, 0)
    _, [log, others] = await permits.log.read([bucket.key, other.key])
    assert (len(log), len(others)) == (1, 1)


async def test_a_pause_that_was_not_long_enough_is_doubled(permits: Permits) -> None:
    key = a_bucket().key
    for seconds in (5, 10, 20, 40, 80, 160, LONGEST_PAUSE, LONGEST_PAUSE):
        assert await permits.store.pause(key, None) == about(seconds)
        await permits.log.let_pass(seconds + QUIET - 2 * SLACK, [key])
    await permits.log.let_pass(3 * SLACK, [key])
    assert await permits.store.pause(key, None) == about(FIRST_PAUSE)


async def test_refusals_of_calls_that_were_under_way_lengthen_nothing(permits: Permits) -> None:
    key = a_bucket().key
    for _ in range(2):
        said = await asyncio.gather(*(permits.store.pause(key, None) for _ in range(5)))
        assert said == [about(FIRST_PAUSE)] * 5
    await permits.log.let_pass(FIRST_PAUSE - 1, [key])
    assert await permits.store.pause(key, None) == about(1)
    await permits.log.let_pass(1, [key])
    assert await permits.store.pause(key, None) == about(2 * FIRST_PAUSE)


@pytest.mark.parametrize("seconds", [0.2, 7.5, 4000.0])
async def test_a_pause_is_as_long_as_the_broker_says(permits: Permits, seconds: float) -> None:
    key = a_bucket().key
    assert await permits.store.pause(key, seconds) == about(seconds)
    assert await paused(permits, key) == about(seconds)
    await permits.log.let_pass(seconds, [key])
    assert await paused(permits, key) == 0


async def test_no_word_shortens_a_pause_and_a_longer_one_counts(permits: Permits) -> None:
    key = a_bucket().key
    assert await permits.store.pause(key, 30) == about(30)
    assert await permits.store.pause(key, 3) == about(30)
    assert await permits.store.pause(key, 0) == about(30)
    assert await permits.store.pause(key, None) == about(30)
    assert await permits.store.pause(key, 400) == about(400)
    assert await paused(permits, key) == about(400)


async def test_what_the_broker_says_is_not_doubled(permits: Permits) -> None:
    key = a_bucket().key
    await permits.store.pause(key, 40)
    await permits.log.let_pass(41, [key])
    assert await permits.store.pause(key, None) == about(2 * FIRST_PAUSE)
    await permits.log.let_pass(2 * FIRST_PAUSE, [key])
    assert await permits.store.pause(key, 1) == about(1)
    await permits.log.let_pass(1, [key])
    assert await permits.store.pause(key, None) == about(4 * FIRST_PAUSE)


async def test_after_a_quiet_time_nothing_of_a_growth_is_left_for_a_told_pause_to_keep(permits: Permits) -> None:
    key = a_bucket().key
    for seconds in (5, 10, 20):
        await permits.store.pause(key, None)
        await permits.log.let_pass(seconds, [key])
    await permits.log.let_pass(QUIET, [key])
    await permits.store.pause(key, 1)
    await permits.log.let_pass(1, [key])
    assert await permits.store.pause(key, None) == about(2 * FIRST_PAUSE)


async def test_giving_back_ends_no_pause(permits: Permits) -> None:
    bucket = a_bucket(a_window(60, 9))
    await permits.store.take([bucket])
    await permits.store.pause(bucket.key, 20)
    await permits.store.give_back(bucket.key)
    await permits.store.give_back(bucket.key)
    assert await paused(permits, bucket.key) == about(20)
