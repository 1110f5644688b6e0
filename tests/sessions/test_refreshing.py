"""One look for all who ask at the same moment: nobody is told what was looked up before he had asked."""

import asyncio
from collections.abc import Mapping

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.db import Database
from app.problems import TemporarilyUnavailable
from app.sessions import store
from app.sessions.freshness_store import FreshnessLooks
from app.sessions.refreshing import Refreshing
from app.statements import Statements
from tests.support.investor import Browser
from tests.support.replicas import Replicas, fresh_key, trading
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


class Looks:
    """Looks that begin by themselves and end when a test says so; each tells its number."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.ends: list[asyncio.Future[None]] = []

    async def look(self, user_ids: set[str]) -> Mapping[str, int]:
        number = len(self.asked)
        self.asked.append(set(user_ids))
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[number]
        return dict.fromkeys(user_ids, number)

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < count:  # noqa: ASYNC110  # it comes with the loop's next rounds
                await asyncio.sleep(0)

    def end(self, number: int, error: Exception | None = None) -> None:
        if error:
            self.ends[number].set_exception(error)
        else:
            self.ends[number].set_result(None)


async def quiet() -> None:
    """Let everything happen that can happen without anybody else."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_comes_while_a_look_is_under_way_waits_for_the_next_one() -> None:
    looks = Looks()
    refreshing = Refreshing(looks.look, patience=60.0)
    first = asyncio.create_task(refreshing.of("a"))
    await looks.begun(1)
    later = [asyncio.create_task(refreshing.of(user)) for user in ("a", "b", "a", "c")]
    await quiet()
    assert looks.asked == [{"a"}]
    looks.end(0)
    assert await first == 0
    await looks.begun(2)
    assert looks.asked[1] == {"a", "b", "c"}
    last = asyncio.create_task(refreshing.of("a"))
    await quiet()
    assert not any(each.done() for each in later)
    looks.end(1)
    assert await asyncio.gather(*later) == [1, 1, 1, 1]
    await looks.begun(3)
    looks.end(2)
    assert await last == 2


async def test_who_comes_as_a_look_ends_is_told_nothing_of_it() -> None:
    """In the very round of the loop in which its answer is there, before anybody has been told."""
    looks = Looks()
    refreshing = Refreshing(looks.look, patience=60.0)
    first = asyncio.create_task(refreshing.of("a"))
    await looks.begun(1)
    looks.end(0)
    second = asyncio.create_task(refreshing.of("a"))
    assert await first == 0
    await looks.begun(2)
    looks.end(1)
    assert await second == 1


async def test_who_leaves_takes_nobody_with_him() -> None:
    looks = Looks()
    refreshing = Refreshing(looks.look, patience=60.0)
    asking = [asyncio.create_task(refreshing.of(user)) for user in ("a", "b", "c", "b")]
    await looks.begun(1)
    asking[0].cancel()
    await looks.begun(2)
    asking[1].cancel()
    await quiet()
    assert [each.cancelled() for each in asking] == [True, True, False, False]
    waiting = asyncio.create_task(refreshing.of("d"))
    await quiet()
    waiting.cancel()  # the only one of the next round: whoever comes after him is of it all the same
    await quiet()
    after = asyncio.create_task(refreshing.of("e"))
    looks.end(1)
    assert await asyncio.gather(*asking[2:]) == [1, 1]
    await looks.begun(3)
    looks.end(2)
    assert await after == 2
    assert looks.asked == [{"a"}, {"b", "c"}, {"e"}]


async def test_a_failure_is_told_to_all_of_its_round_and_to_nobody_else() -> None:
    looks = Looks()
    refreshing = Refreshing(looks.look, patience=60.0)
    first, *failing = (asyncio.create_task(refreshing.of(user)) for user in ("a", "b", "c"))
    await looks.begun(1)
    await quiet()
    looks.end(0)
    await looks.begun(2)
    after = asyncio.create_task(refreshing.of("a"))
    await quiet()
    looks.end(1, TemporarilyUnavailable())
    ends = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(each) for each in ends] == [TemporarilyUnavailable, TemporarilyUnavailable]
    await looks.begun(3)
    looks.end(2)
    assert (await first, await after) == (0, 2)


async def test_a_failure_that_nobody_waits_for_is_no_noise() -> None:
    told: list[object] = []
    loop, looks = asyncio.get_running_loop(), Looks()
    former = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    try:
        refreshing = Refreshing(looks.look, patience=60.0)
        asking = [asyncio.create_task(refreshing.of(user)) for user in ("a", "b")]
        await looks.begun(1)
        looks.end(0)
        await looks.begun(2)
        asking[1].cancel()
        await quiet()
        looks.end(1, TemporarilyUnavailable())
        await quiet()
        assert await asking[0] == 0
        del refreshing, asking
        assert told == []
    finally:
        loop.set_exception_handler(former)


Question = tuple[str, int, int, bool]
"""Who asks, how long the next one waits, how long the look takes, and whether he leaves before he is told."""


class Times:
    """Looks that take so many rounds of the loop each, and a clock that moves with each question and look."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = iter([*lengths, *[1] * 50])
        self._clock = 0
        self._refreshing = Refreshing(self._look, patience=60.0)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    async def _look(self, user_ids: set[str]) -> Mapping[str, int]:
        began_at, asked = self._tick(), set(user_ids)
        for _ in range(next(self._lengths)):
            await asyncio.sleep(0)
        return dict.fromkeys(asked, began_at)

    async def ask(self, user: str) -> bool:
        """Say whether the look that told him had begun after he asked."""
        asked_at = self._tick()
        return await self._refreshing.of(user) > asked_at


async def play(questions: list[Question]) -> list[bool]:
    """Return for each who stayed whether he was told nothing older than his question."""
    times = Times([each[2] for each in questions])
    staying: list[asyncio.Task[bool]] = []
    for user, pause, _, leaves in questions:
        task = asyncio.create_task(times.ask(user))
        for _ in range(pause):
            await asyncio.sleep(0)
        if leaves:
            task.cancel()
        else:
            staying.append(task)
    return await asyncio.gather(*staying)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 6), st.booleans()), max_size=25))
def test_no_answer_is_from_a_look_that_began_before_its_question(questions: list[Question]) -> None:
    """Whoever asks, waits and leaves, in whatever order, while looks take as long as they like."""
    assert all(asyncio.run(play(questions)))


# In the database.


async def test_a_look_for_many_sees_what_the_look_for_a_session_sees(
    service: Service, broker: SimulatedBroker, database_url: str, rows: asyncpg.Connection
) -> None:
    async with Browser(service) as asha, Browser(service) as ravi:
        await asha.sign_in(broker)
        await ravi.sign_in(broker, "FO5678")
        await rows.execute(
            "UPDATE users SET book_epoch = 7, last_event = 40, ordered_at = clock_timestamp() - interval '90 seconds'"
            " WHERE id = 'FO5678'"
        )
        statements = Statements.of(SecretStr(database_url), most=1)
        found = await FreshnessLooks(statements).look({"AB1234", "FO5678"})
        db = Database.open(SecretStr(database_url), pool_size=1, pool_wait=1.0)
        async with db.reading() as tx:
            hashes = await rows.fetch("SELECT user_id, token_hash FROM sessions")
            for row in hashes:
                session = await store.find(tx, row["token_hash"])
                assert session is not None
                alone, among_others = session.freshness, found[row["user_id"]]
                assert (alone.epoch, alone.last_event, alone.has_unknown) == (
                    among_others.epoch, among_others.last_event, among_others.has_unknown,
                )  # fmt: skip
                assert (alone.since_order is None) == (among_others.since_order is None)
                if alone.since_order is not None and among_others.since_order is not None:
                    assert abs(alone.since_order - among_others.since_order).total_seconds() < 5
                    assert 89 < among_others.since_order.total_seconds() < 100
        await db.aclose()
        await statements.aclose()
    assert {row["user_id"] for row in hashes} == {"AB1234", "FO5678"}


@pytest.mark.parametrize("state", ["sending", "unknown", "accepted", "refused"])
async def test_an_order_under_way_or_unknown_is_seen_as_such(
    state: str, replicas: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(replicas.first, broker) as asha:
        await asha.placed()
        await replicas.store.rows.execute(
            "UPDATE intents SET state = $1,"
            " resolved_at = CASE WHEN $2 THEN now() END, resolved_by = CASE WHEN $2 THEN 'broker' END",
            state, state in {"accepted", "refused"},
        )  # fmt: skip
        statements = Statements.of(SecretStr(replicas.database_url), most=1)
        found = await FreshnessLooks(statements).look({"AB1234"})
        await statements.aclose()
    assert found["AB1234"].has_unknown == (state in {"sending", "unknown"})


@pytest.mark.parametrize("times", [40, pytest.param(200, marks=pytest.mark.drill)])
async def test_an_order_placed_at_one_replica_is_in_the_book_that_another_one_shows_at_once(
    times: int, replicas: Replicas, broker: SimulatedBroker
) -> None:
    """Many times, with the session remembered there, and others asking for the same at the same moment."""
    first, second = replicas.both
    async with trading(first, broker) as asha:
        for number in range(times):
            await asha.get(f"{second.url}/v1/orders")  # whose answer is kept there, and the session remembered
            placed = await asha.place(fresh_key(), quantity=number + 1)
            assert placed.status_code == 201
            [order] = placed.json()["orders"]
            shown = await asyncio.gather(*(asha.get(f"{second.url}/v1/orders") for _ in range(2)))
            for answer in shown:
                found = {each["orderNo"]: each for each in answer.json()["orders"]}
                assert order["orderNo"] in found, number
                assert found[order["orderNo"]]["placementId"] == placed.json()["placementId"], number
