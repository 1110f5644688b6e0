"""Looks at the book that nobody's hint brought about: how often, for whom, and who has to stand back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from app.clock import monotonic
from app.db import Database
from app.order_updates import looks_store
from tests.conftest import create_clone, empty
from tests.support.investor import slug
from tests.support.replicas import Replicas, Store, received, replicated, trading, until
from tests.support.simulated import SimulatedBroker
from tests.support.streams import book_reads, first_look_is_over, listening

SYMBOL = "IDEA-EQ"
"""Of an order of AB1234 that is of the seed: 100 at 14.10. Nobody but the polls looks for what becomes of it."""
FILLED = 40
WITH_NOTHING = "EMPTY01"
PACE = 100  # seconds, where the database is asked rather than waited for
LEASE = timedelta(seconds=25)


@pytest.fixture(scope="session")
async def polling_database(worker: str) -> str:
    return await create_clone(f"polling_{worker}")


@pytest.fixture
async def store(polling_database: str, broker: SimulatedBroker) -> AsyncIterator[Store]:
    async with Store.open(polling_database) as store:
        yield store
    await empty(polling_database)


@pytest.fixture
async def slow(slowly: Replicas, broker: SimulatedBroker) -> AsyncIterator[Replicas]:
    """Give replicas that look so seldom that a test has to make each look due."""
    yield slowly
    await empty(slowly.database_url)


@pytest.fixture(scope="module")
async def slowly(worker: str, simulator_process: SimulatedBroker) -> AsyncIterator[Replicas]:
    url = await create_clone(f"slowly_{worker}")
    async with replicated(url, simulator_process.url, bystanders=0, order_poll_interval=str(PACE)) as running:
        yield running


def polling(database_url: str, broker: SimulatedBroker, **changed: Any) -> AbstractAsyncContextManager[Replicas]:
    return replicated(database_url, broker.url, bystanders=0, **{"order_poll_interval": "1"} | changed)


async def planned(store: Store, user: str = "AB1234") -> float | None:
    """Return how many seconds after the last look the next one is due."""
    found: float | None = await store.rows.fetchval(
        "SELECT extract(epoch FROM next_look_at - looked_at)::float FROM book_looks WHERE user_id = $1", user
    )
    return found


async def looked(store: Store, user: str = "AB1234") -> None:
    """Make a look due, and return when it has been had, or put off."""
    await store.rows.execute("UPDATE book_looks SET next_look_at = now() WHERE user_id = $1", user)

    async def is_over() -> bool:
        return bool(await store.rows.fetchval(
            "SELECT lease_until IS NULL AND (next_look_at IS NULL OR next_look_at > now()) FROM book_looks"
            " WHERE user_id = $1", user
        ))  # fmt: skip

    await until(is_over)


async def test_a_change_is_told_within_the_interval_while_somebody_listens(
    store: Store, polling_database: str, broker: SimulatedBroker
) -> None:
    async with polling(polling_database, broker) as replicas, trading(replicas.first, broker) as asha:
        await asha.get("/v1/orders")
        async with listening(asha, replicas.second) as stream:
            for number, price in enumerate(("14.00", "13.90", "13.80"), 1):
                broker.order_switches(fillAtMost=3)
                before = len(stream.updates)
                broker.set_price(SYMBOL, price)
                began_at = monotonic()
                await stream.until(before + 1)
                assert monotonic() - began_at < 1 + 0.5 + 2, f"change {number}"  # pace, the loop's own, a slow machine
    assert [each["order"]["filledQuantity"] for each in stream.updates] == [FILLED + 3, FILLED + 6, FILLED + 9]


async def test_whoever_has_no_open_order_and_no_listener_is_left_alone(slow: Replicas, broker: SimulatedBroker) -> None:
    async with trading(slow.first, broker, WITH_NOTHING) as esha, trading(slow.first, broker) as asha:
        assert (await esha.get("/v1/orders")).status_code == 200
        assert (await asha.get("/v1/orders")).status_code == 200
        before = book_reads(broker, WITH_NOTHING)
        await slow.store.rows.execute("UPDATE book_looks SET next_look_at = now() WHERE next_look_at IS NOT NULL")
        await looked(slow.store)
        await looked(slow.store)
    assert book_reads(broker, WITH_NOTHING) == before
    assert not await slow.store.rows.fetchval("SELECT next_look_at FROM book_looks WHERE user_id = $1", WITH_NOTHING)


async def test_what_is_open_is_looked_at_slowly_and_faster_for_a_listener(
    slow: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(slow.first, broker) as asha, trading(slow.first, broker, WITH_NOTHING) as esha:
        await asha.get("/v1/orders")
        assert await slow.store.rows.fetchval("SELECT has_open FROM book_looks WHERE user_id = 'AB1234'")
        await looked(slow.store)
        assert await planned(slow.store) == pytest.approx(6 * PACE, abs=1)
        async with listening(asha), listening(esha):
            await first_look_is_over(slow.store, "AB1234", "EMPTY01")
            await looked(slow.store)
            await looked(slow.store, WITH_NOTHING)
            assert await planned(slow.store) == pytest.approx(PACE, abs=1)
            assert await planned(slow.store, WITH_NOTHING) == pytest.approx(3 * PACE, abs=1)


async def test_what_he_does_himself_is_no_proof_that_the_broker_posts(slow: Replicas, broker: SimulatedBroker) -> None:
    """Else whoever trades without webhooks would be told of his fills three times later, for a quarter of an hour."""
    async with trading(slow.first, broker) as asha:
        await asha.get("/v1/orders")
        async with listening(asha) as stream:
            await first_look_is_over(slow.store)
            await asha.placed()
            await stream.until(1)
            await looked(slow.store)
            assert await planned(slow.store) == pytest.approx(PACE, abs=1)


async def test_what_he_does_himself_in_vain_holds_up_no_later_news(slow: Replicas, broker: SimulatedBroker) -> None:
    """The gap that grows is for posts of which nobody knows who sends them."""
    async with trading(slow.first, broker) as asha:
        await asha.get("/v1/orders")
        async with listening(asha):
            await first_look_is_over(slow.store)
            for _ in range(2):
                before = book_reads(broker)
                broker.order_switches(refuseNext="RMS:not today")
                assert (await asha.place()).status_code == 422
                await received(broker, "orderBook", before + 1)
                await first_look_is_over(slow.store)
            assert await slow.store.rows.fetchval("SELECT hint_gap FROM book_looks") == 1


async def test_a_look_whose_sight_was_dropped_is_had_again_soon(slow: Replicas, broker: SimulatedBroker) -> None:
    """What it alone has seen must not wait for a whole interval: another sight was written down while it was made."""
    broker.order_switches(fillAtMost=4)
    async with trading(slow.first, broker) as asha:
        await asha.get("/v1/orders")
        async with listening(asha) as stream:
            await first_look_is_over(slow.store)
            broker.break_call("orderBook", "slow", seconds=1, times=1)
            before = book_reads(broker)
            await slow.store.rows.execute("UPDATE book_looks SET next_look_at = now()")
            await received(broker, "orderBook", before + 1)
            broker.set_price(SYMBOL, "14.00")
            await asha.get("/v1/orders", headers={"Cache-Control": "no-cache"})
            await stream.until(1)
            broker.set_price(SYMBOL, "13.90")
            await stream.until(2, within=6)  # the slow answer, a second, the loop's own, and a slow machine
    assert [each["order"]["filledQuantity"] for each in stream.updates] == [FILLED + 4, FILLED + 8]


async def test_with_the_last_order_and_the_last_listener_the_looks_end(slow: Replicas, broker: SimulatedBroker) -> None:
    async with trading(slow.first, broker, WITH_NOTHING) as esha:
        async with listening(esha):
            await first_look_is_over(slow.store, WITH_NOTHING)
        await slow.store.rows.execute("UPDATE book_looks SET listened_until = now()")  # 45 seconds have passed
        await looked(slow.store, WITH_NOTHING)
        assert await planned(slow.store, WITH_NOTHING) is None
        number = await esha.placed(transactionType="SELL", price="200.00")
        await esha.get("/v1/orders")
        await looked(slow.store, WITH_NOTHING)
        assert await planned(slow.store, WITH_NOTHING) == pytest.approx(6 * PACE, abs=1)
        assert (await esha.delete(f"/v1/orders/{number}")).status_code == 200
        await looked(slow.store, WITH_NOTHING)
        assert await planned(slow.store, WITH_NOTHING) is None


async def test_a_dead_broker_session_ends_the_looks_and_a_sign_in_brings_them_back(
    slow: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(slow.first, broker) as asha:
        await asha.get("/v1/orders")
        broker.expire()
        await looked(slow.store)
        assert await slow.store.rows.fetchval("SELECT next_look_at FROM book_looks") is None
        assert (await asha.get("/v1/session")).json()["broker"]["connected"] is False
        before = book_reads(broker)
        await asha.sign_in(broker)
        await received(broker, "orderBook", before + 1)
        await _has_plan(slow.store)


async def _has_plan(store: Store) -> None:
    async def is_planned() -> bool:
        return bool(await store.rows.fetchval(
            "SELECT next_look_at > now() AND lease_until IS NULL FROM book_looks WHERE user_id = 'AB1234'"
        ))  # fmt: skip

    await until(is_planned)


async def test_a_sign_in_during_a_look_that_finds_the_session_dead_is_not_forgotten(
    store: Store, polling_database: str
) -> None:
    """The look puts the next one off until a sign-in; one that has come meanwhile must not be waited for."""
    await store.rows.execute("INSERT INTO users (id, created_at, signed_in_at) VALUES ('AB1234', now(), now())")
    await store.rows.execute("INSERT INTO book_looks (user_id, has_open, next_look_at) VALUES ('AB1234', true, now())")
    db = Database.open(SecretStr(polling_database))
    try:
        async with db.transaction() as tx:
            [claimed] = await looks_store.claim(tx, 1, LEASE)
        async with db.transaction() as tx:
            await looks_store.nudge(tx, ["AB1234"], also_unheard=True)
        async with db.transaction() as tx:
            await looks_store.put_off(tx, claimed, None, LEASE)
    finally:
        await db.aclose()
    assert await store.rows.fetchval("SELECT next_look_at FROM book_looks") is not None


async def test_two_replicas_with_listeners_of_one_user_look_in_turn(
    store: Store, polling_database: str, broker: SimulatedBroker
) -> None:
    async with (
        polling(polling_database, broker) as replicas,
        trading(replicas.first, broker) as asha,
        listening(asha, replicas.first),
        listening(asha, replicas.second),
    ):
        await received(broker, "orderBook", 1)
        began_at, before = monotonic(), book_reads(broker)
        await received(broker, "orderBook", before + 4)
        took = monotonic() - began_at
    assert book_reads(broker) - before <= took + 1  # one a second, whoever makes it
    assert took < 4 * (1 + 0.5) + 2


async def test_looks_leave_half_of_a_window_to_whoever_asks(
    store: Store, polling_database: str, broker: SimulatedBroker
) -> None:
    """Half of twenty a minute is used; beyond it the looks wait, and what the user asks for passes."""
    limited = polling(polling_database, broker, order_poll_interval="2", rate_limits_user="non-trading=-/20/-/-")
    async with limited as replicas, trading(replicas.first, broker) as asha:
        await asha.get("/v1/orders")
        used = await _used(store)
        for _ in range(10 - used):
            assert (await asha.get("/v1/funds")).status_code == 200
        before = book_reads(broker)
        await looked(store)
        wait = await _wait(store)
        assert 30 < wait <= 61
        for _ in range(8):  # a tenth is kept for what is urgent
            assert (await asha.get("/v1/funds")).status_code == 200
        assert book_reads(broker) == before
        assert slug(await asha.get("/v1/funds")) == "rate-limited"


async def _used(store: Store) -> int:
    return int(await store.rows.fetchval("SELECT count(*) FROM rate_permits WHERE key = 'user:AB1234:non-trading'"))


async def _wait(store: Store) -> float:
    """Return in how many seconds the next look is due."""
    return float(await store.rows.fetchval("SELECT extract(epoch FROM next_look_at - now()) FROM book_looks"))


@pytest.mark.parametrize(
    ("fault", "told", "wait"), [("http429", 40, 40), ("http429", 2, 10), ("http500", None, 10), ("reset", None, 10)]
)
async def test_a_look_that_fails_is_put_off_as_long_as_the_broker_says(
    slow: Replicas, broker: SimulatedBroker, fault: str, told: float | None, wait: float
) -> None:
    async with trading(slow.first, broker) as asha:
        await asha.get("/v1/orders")
        broker.break_call("orderBook", fault, seconds=told)
        await looked(slow.store)
        assert wait - 5 < await _wait(slow.store) <= wait
        assert (await asha.get("/v1/session")).json()["broker"]["connected"] is True
