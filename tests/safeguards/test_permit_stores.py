"""Two stores of permits, one behaviour: whatever arrives whenever, each answer is what the exact log says."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.clock import monotonic
from app.safeguards.counting import (
    ADDRESS_KEPT_FOR,
    ADDRESS_PREFIX,
    FIRST_PAUSE,
    LONGEST_WINDOW,
    QUIET,
    Allowance,
    Bucket,
    Tally,
)
from tests.conftest import empty
from tests.support.permits import (
    MICRO,
    STORES,
    Permits,
    PostgresLog,
    ValkeyLog,
    a_bucket,
    a_window,
    fullest,
    in_micros,
    name_in_valkey,
    opened_permits,
    standing,
)

LENGTHS = [0.05, 0.1, 0.2, 0.4]
LATE = 1.0  # seconds that a busy machine may take to come back to us


@pytest.fixture(scope="module", params=STORES)
async def permits(request: pytest.FixtureRequest, database_url: str, valkey_url: str) -> AsyncIterator[Permits]:
    async with opened_permits(database_url if request.param == "postgres" else valkey_url) as opened:
        yield opened
    await empty(database_url)


class Arrival(NamedTuple):
    """A call `after` so many seconds, or when the last was told to come again, and `off` by some microseconds."""

    after: float | None
    off: int
    places: list[int]
    is_urgent: bool
    does: str


arrivals = st.lists(
    st.builds(
        Arrival,
        after=st.sampled_from([0.0, 0.0, 0.0, 0.0, None, None, *LENGTHS]),
        off=st.sampled_from([0, 0, 1, -1, 2, -2, 1000, -1000]),
        places=st.sampled_from([[0], [0], [0, 1], [1, 2], [0, 1, 2]]),
        is_urgent=st.booleans(),
        does=st.sampled_from(["take", "take", "take", "take", "look", "give_back"]),
    ),
    min_size=20,
    max_size=35,
)
limits = st.integers(1, 6).flatmap(lambda limit: st.tuples(st.just(limit), st.integers(1, limit)))
windows = st.lists(
    st.builds(lambda length, both: a_window(length, *both), st.sampled_from(LENGTHS), limits), max_size=3
)
layouts = st.lists(windows, min_size=3, max_size=3)


class Witness:
    """Sends calls at moments of its own choice, and holds each answer against the log.

    A store whose newest call is ahead of its clock takes the next microsecond for now. That call is the clock's, which
    counts in every call and has no window.
    """

    def __init__(self, permits: Permits, layout: Sequence[Sequence[Allowance]]) -> None:
        self._store, self._log = permits.store, permits.log
        self._clock, self._buckets = a_bucket(), [a_bucket(*windows) for windows in layout]
        self._shown = 0
        self._logs: dict[str, list[int]] = {each.key: [] for each in self._buckets}

    async def follow(self, arrivals: Sequence[Arrival]) -> None:
        """Send them all, and hold the whole log against the limits."""
        await self._store.take([self._clock])
        clock, [[self._shown]] = await self._log.read([self._clock.key])
        now, told = clock + 3600 * MICRO, 0
        for each in arrivals:
            after = told if each.after is None else round(each.after * MICRO)
            now += max(after + each.off, 1)
            told = await self._send(each, now)
        for bucket in self._buckets:
            log = self._logs[bucket.key]
            assert log == sorted(set(log))
            assert all(fullest(log, each.length) <= each.limit for each in bucket.allowances)

    async def _send(self, arrival: Arrival, now: int) -> int:
        """Send one, and return after how many microseconds it was told to come again."""
        buckets = [_as_seen(self._buckets[place], arrival) for place in arrival.places]
        keys = [each.key for each in buckets]
        expected = [standing(self._logs[each.key], now, window) for each in buckets for window in each.allowances]
        is_free = not any(wait for _, wait, _ in expected)
        if arrival.does == "give_back":
            await self._store.give_back(keys[0])
            del self._logs[keys[0]][-1:]
        else:
            await self._set_clock(now - 1)
            ask = self._store.take if arrival.does == "take" else self._store.look
            tally = await ask([self._clock, *buckets])
            assert [in_micros(each) for each in tally.counts] == expected
            assert tally.is_granted is is_free
            if is_free and arrival.does == "take":
                self._shown = now
                for key in keys:
                    self._logs[key].append(now)
        assert (await self._log.read(keys))[1] == [self._logs[key] for key in keys]
        return max((wait for _, wait, _ in expected), default=0)

    async def _set_clock(self, moment: int) -> None:
        await self._log.let_pass((self._shown - moment) / MICRO, [self._clock.key])
        self._shown = moment


def _as_seen(bucket: Bucket, arrival: Arrival) -> Bucket:
    if not arrival.is_urgent:
        return bucket
    return replace(bucket, allowances=tuple(each._replace(usable=each.limit) for each in bucket.allowances))


@settings(max_examples=20)
@given(layout=layouts, calls=arrivals)
async def test_every_answer_is_what_the_log_says(
    permits: Permits, layout: list[list[Allowance]], calls: list[Arrival]
) -> None:
    await Witness(permits, layout).follow(calls)


@pytest.mark.drill
@settings(max_examples=300)
@given(layout=layouts, calls=arrivals)
async def test_every_answer_is_what_the_log_says_many_times(
    permits: Permits, layout: list[list[Allowance]], calls: list[Arrival]
) -> None:
    await Witness(permits, layout).follow(calls)


@pytest.mark.parametrize(("early", "is_granted"), [(0, True), (1, False)])
async def test_a_call_leaves_a_window_to_the_microsecond(permits: Permits, early: int, is_granted: bool) -> None:
    """With a log that is ahead of its clock, the moment of the next call is known: the next microsecond."""
    full, other = a_bucket(a_window(0.2, 1)), a_bucket(a_window(60, 2))
    await permits.store.take([full])
    await permits.store.take([other])
    await permits.log.let_pass(-60, [full.key])
    _, [[left_at], [counted_at]] = await permits.log.read([full.key, other.key])
    now = left_at + MICRO // 5 - early
    await permits.log.let_pass((counted_at - (now - 1)) / MICRO, [other.key])
    tally = await permits.store.take([full, other])
    assert tally.is_granted is is_granted
    assert in_micros(tally.counts[0]) == ((0, 0, 0) if is_granted else (1, 1, 1))
    assert in_micros(tally.counts[1]) == (1, 0, 60 * MICRO - 1)
    _, logs = await permits.log.read([full.key, other.key])
    assert logs == ([[left_at, now], [now - 1, now]] if is_granted else [[left_at], [now - 1]])


@pytest.mark.parametrize("usable", [1, 5])
async def test_whoever_sends_as_fast_as_he_is_let_gets_nearly_all_there_is(permits: Permits, usable: int) -> None:
    bucket = a_bucket(a_window(0.2, 6, usable), a_window(0.07, usable))
    begun, late, sent = monotonic(), 0.0, 0
    while (elapsed := monotonic() - begun - late) < 1:
        tally = await permits.store.take([bucket])
        sent += tally.is_granted
        if wait := max(each.wait for each in tally.counts):
            due = monotonic() + wait
            await asyncio.sleep(wait)
            late += monotonic() - due
            tally = await permits.store.take([bucket])
            assert tally.is_granted
            sent += 1
    _, [log] = await permits.log.read([bucket.key])
    assert len(log) == sent
    assert sent >= 0.9 * usable * elapsed / 0.2
    assert fullest(log, 0.2) == usable
    assert fullest(log, 0.07) <= usable


async def test_many_at_once_are_let_through_once_each_and_no_more_than_may(permits: Permits) -> None:
    app = a_bucket(a_window(0.05, 12), a_window(0.3, 40))
    users = [a_bucket(a_window(0.04, 3), a_window(0.2, 9)) for _ in range(4)]
    exchanges = [a_bucket(a_window(0.1, 4)) for _ in range(2)]
    granted = dict.fromkeys([each.key for each in (app, *users, *exchanges)], 0)
    end = monotonic() + 0.8

    async def hammer(number: int) -> None:
        chance = random.Random(number)  # noqa: S311  # no secret
        while monotonic() < end:
            buckets = [app, chance.choice(users), *([chance.choice(exchanges)] if chance.random() < 0.5 else [])]
            if (await permits.store.take(buckets)).is_granted:
                for each in buckets:
                    granted[each.key] += 1

    await asyncio.gather(*(hammer(number) for number in range(40)))
    _, logs = await permits.log.read(list(granted))
    for bucket, log in zip((app, *users, *exchanges), logs, strict=True):
        assert len(log) == granted[bucket.key] > 0
        assert log == sorted(set(log))
        assert all(fullest(log, each.length) <= each.usable for each in bucket.allowances)


async def test_a_crowd_only_waits_for_its_turn(permits: Permits) -> None:
    app, users = a_bucket(a_window(60, 1000)), [a_bucket(a_window(60, 1000)) for _ in range(7)]
    exchange = a_bucket(a_window(60, 1000))
    tallies = await asyncio.gather(
        *(permits.store.take([app, users[number % 7], exchange][: 2 + number % 2]) for number in range(200))
    )
    assert all(each.is_granted for each in tallies)
    assert sorted(each.counts[0].used for each in tallies) == list(range(200))


async def test_who_gives_up_waiting_leaves_no_answer_to_the_next(permits: Permits) -> None:
    chance = random.Random(1)  # noqa: S311  # no secret
    given_up, next_one = a_bucket(a_window(60, 100)), a_bucket(*[a_window(60 + each, 100) for each in range(3)])
    for number in range(30):
        call = asyncio.create_task(permits.store.take([given_up]))
        await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001]))
        call.cancel()
        tally = await permits.store.take([next_one])
        assert [each.used for each in tally.counts] == [number] * 3
        await asyncio.gather(call, return_exceptions=True)


async def test_a_refused_call_uses_nothing_anywhere(permits: Permits) -> None:
    full, free = a_bucket(a_window(60, 1), a_window(3600, 9)), a_bucket(a_window(60, 9))
    await permits.store.take([full])
    for buckets in ([full, free], [free, full]):
        assert not (await permits.store.take(buckets)).is_granted
    assert not (await permits.store.look([free, full])).is_granted
    assert (await permits.store.look([free])).is_granted
    _, [kept, untouched] = await permits.log.read([full.key, free.key])
    assert (len(kept), untouched) == (1, [])


async def test_nothing_is_asked_of_what_has_no_window(permits: Permits) -> None:
    assert await permits.store.take([]) == Tally(is_granted=True, pause=0, counts=())
    assert await permits.store.take([a_bucket()]) == Tally(is_granted=True, pause=0, counts=())


async def test_what_is_given_back_is_the_newest(permits: Permits) -> None:
    bucket, other = a_bucket(a_window(60, 3)), a_bucket(a_window(60, 3))
    for _ in range(3):
        await permits.store.take([bucket, other])
        await permits.log.let_pass(1, [bucket.key, other.key])
    _, [before] = await permits.log.read([bucket.key])
    await permits.store.give_back(bucket.key)
    _, [after, others] = await permits.log.read([bucket.key, other.key])
    assert (after, len(others)) == (before[:-1], 3)
    assert (await permits.store.take([bucket])).is_granted
    assert not (await permits.store.take([bucket])).is_granted


async def test_no_more_is_given_back_than_was_taken(permits: Permits) -> None:
    bucket = a_bucket(a_window(60, 1))
    await permits.store.give_back(bucket.key)
    await permits.store.take([bucket])
    for _ in range(3):
        await permits.store.give_back(bucket.key)
    assert [each.used for each in (await permits.store.look([bucket])).counts] == [0]
    assert (await permits.store.take([bucket])).is_granted
    assert not (await permits.store.take([bucket])).is_granted


async def test_nothing_but_a_pause_outlives_the_longest_window(permits: Permits) -> None:
    idle, asked_again, never_let, paused, fresh = (a_bucket(a_window(60, 1)) for _ in range(5))
    for each in (idle, asked_again, paused):
        await permits.store.take([each])
    await permits.store.pause(never_let.key, 1)
    await permits.store.pause(paused.key, LONGEST_WINDOW + 60)
    await permits.log.let_pass(LONGEST_WINDOW + 1, [each.key for each in (idle, asked_again, never_let, paused)])
    await permits.store.take([fresh])
    await permits.store.purge()
    assert not await permits.log.is_known(idle.key)
    assert not await permits.log.is_known(never_let.key)
    assert (await permits.store.look([paused])).pause > 0
    assert (await permits.store.take([asked_again])).is_granted
    for each in (fresh, asked_again):
        assert not (await permits.store.take([each])).is_granted


async def test_an_address_is_forgotten_after_two_minutes(permits: Permits) -> None:
    bucket = replace(a_bucket(a_window(60, 1)), kept_for=ADDRESS_KEPT_FOR)
    bucket = replace(bucket, key=f"{ADDRESS_PREFIX}{bucket.key}")
    await permits.store.take([bucket])
    await permits.store.purge()
    assert await permits.log.is_known(bucket.key)
    await permits.log.let_pass(ADDRESS_KEPT_FOR + 1, [bucket.key])
    await permits.store.purge()
    assert not await permits.log.is_known(bucket.key)


async def test_postgres_counts_what_it_has_purged(database_url: str) -> None:
    async with opened_permits(database_url) as permits:
        await permits.store.purge()
        buckets = [a_bucket(a_window(60, 1)) for _ in range(3)]
        await permits.store.take(buckets)
        await permits.log.let_pass(LONGEST_WINDOW, [each.key for each in buckets[1:]])
        assert await permits.store.purge() == 2
        assert await permits.store.purge() == 0
    await empty(database_url)


async def test_postgres_purges_nothing_from_under_a_call(database_url: str) -> None:
    app, user = a_bucket(a_window(3600, 3)), a_bucket(a_window(3600, 2), a_window(60, 2))
    async with opened_permits(database_url) as permits:
        for _ in range(60):
            await permits.log.let_pass(LONGEST_WINDOW, [app.key, user.key])
            calls = [permits.store.take(each) for each in ([app, user], [user], [app, user], [app], [user], [app])]
            tallies, _ = await asyncio.gather(
                asyncio.gather(*calls), asyncio.gather(*(permits.store.purge() for _ in range(3)))
            )
            _, logs = await permits.log.read([app.key, user.key])
            granted = [each.is_granted for each in tallies]
            assert [fullest(each, 3600) for each in logs] == [
                granted[0] + granted[2] + granted[3] + granted[5], granted[0] + granted[1] + granted[2] + granted[4],
            ] == [min(fullest(logs[0], 3600), 3), 2]  # fmt: skip
    await empty(database_url)


async def test_valkey_lets_every_key_end_by_itself(valkey_url: str) -> None:
    bucket = a_bucket(a_window(60, 9))
    async with opened_permits(valkey_url) as permits:
        assert isinstance(permits.log, ValkeyLog)
        names = [name_in_valkey(bucket.key), f"{name_in_valkey(bucket.key)}:pause"]
        for _ in range(2):
            await permits.store.take([bucket])
            await permits.store.pause(bucket.key, None)
            log, pause = [await permits.log.redis.pttl(each) / 1000 for each in names]
            assert LONGEST_WINDOW - LATE < log <= LONGEST_WINDOW
            assert FIRST_PAUSE + QUIET - LATE < pause <= FIRST_PAUSE + QUIET + 0.001
            await permits.log.let_pass(FIRST_PAUSE - LATE / 2, [bucket.key])
            await permits.log.let_pass(FIRST_PAUSE + QUIET, [bucket.key])


async def test_postgres_purges_nothing_that_a_call_is_counting(database_url: str) -> None:
    bucket = a_bucket(a_window(60, 1))
    async with opened_permits(database_url) as permits:
        assert isinstance(permits.log, PostgresLog)
        await permits.store.take([bucket])
        await permits.log.let_pass(LONGEST_WINDOW, [bucket.key])
        async with permits.log.rows.transaction():
            await permits.log.rows.execute("SELECT FROM take_permit($1, '{1}', '{60}', '{1}', true)", [bucket.key])
            purging = asyncio.create_task(permits.store.purge())
            await asyncio.wait([purging], timeout=0.2)
        await purging
        assert not (await permits.store.take([bucket])).is_granted
    await empty(database_url)


async def test_postgres_counts_a_call_when_its_turn_has_come(database_url: str) -> None:
    bucket = a_bucket(a_window(60, 2))
    async with opened_permits(database_url) as permits:
        assert isinstance(permits.log, PostgresLog)
        await permits.store.take([bucket])
        async with permits.log.rows.transaction():
            await permits.log.rows.execute("SELECT FROM rate_heads WHERE key = $1 FOR UPDATE", bucket.key)
            taking = asyncio.create_task(permits.store.take([bucket]))
            await asyncio.wait([taking], timeout=0.1)
            let_go_at, _ = await permits.log.read([])
        assert (await taking).is_granted
        _, [log] = await permits.log.read([bucket.key])
        assert log[-1] > let_go_at
    await empty(database_url)
