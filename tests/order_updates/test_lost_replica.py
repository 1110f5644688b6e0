"""A replica dies with a hint that it took, or with the streams that it opened: nothing is lost or told twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.processes import Process, process
from tests.support.replicas import PUBLIC, Store, Trader, locked, trading, until
from tests.support.simulated import SimulatedBroker
from tests.support.streams import Stream, first_look_is_over, listening, webhook_token

SYMBOL, SEEDED = "YESBANK-EQ", "IDEA-EQ"
"""Of the usual order, and of one that AB1234 has from the seed: nobody but the polls looks for what becomes of it."""
ORDERS = 30
POLLED_WITHIN = 2 + 0.5 + 5  # seconds: the interval, the loop's own, and a slow machine


@pytest.fixture(scope="session")
async def lost_database(worker: str) -> str:
    return await create_clone(f"lost_{worker}")


@pytest.fixture
async def store(lost_database: str, broker: SimulatedBroker) -> AsyncIterator[Store]:
    async with Store.open(lost_database) as store:
        yield store
    await empty(lost_database)


@pytest.fixture
def lossy_settings(lost_database: str, broker: SimulatedBroker) -> Settings:
    """Give settings by which the broker posts to an address where only this test answers."""
    return configured(lost_database, broker.url, PUBLIC, order_webhooks=True, order_poll_interval="2")


@pytest.fixture
async def survivor(store: Store, lossy_settings: Settings, tmp_path: Path) -> AsyncIterator[Process]:
    async with process(lossy_settings, tmp_path / "survivor.log") as replica:
        yield replica


@pytest.fixture
async def doomed(store: Store, lossy_settings: Settings, tmp_path: Path) -> AsyncIterator[Process]:
    async with process(lossy_settings, tmp_path / "doomed.log") as replica:
        yield replica


@pytest.fixture
async def asha(survivor: Process, broker: SimulatedBroker) -> AsyncIterator[Trader]:
    async with trading(survivor.service, broker) as trader:
        yield trader


async def hint_waits(store: Store) -> None:
    """Return when somebody waits to store a hint."""

    async def is_waiting() -> bool:
        return bool(await store.rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE 'INSERT INTO book_looks (user_id, hinted_at%'"
        ))  # fmt: skip

    await until(is_waiting)


async def test_a_hint_that_dies_with_its_replica_is_made_up_for_by_the_poll(
    store: Store, doomed: Process, survivor: Process, asha: Trader, broker: SimulatedBroker, lost_database: str
) -> None:
    """The broker has its 200, and the change that it told of reaches a listener of the other replica once."""
    token = await webhook_token(broker)
    await _seen(asha)
    async with listening(asha) as stream:
        await first_look_is_over(store)
        async with locked(lost_database, "book_looks"):
            locked_at = await store.rows.fetchval("SELECT clock_timestamp()")
            broker.set_price(SEEDED, "14.00")
            async with httpx.AsyncClient() as as_broker:
                posted = await as_broker.post(
                    f"{doomed.service.url}/broker/webhooks/{token}", json={"tsym": SEEDED, "status": "COMPLETE"}
                )
            assert posted.status_code == 200
            await hint_waits(store)
            doomed.kill()
        [filled] = await stream.until(1, within=POLLED_WITHIN)
        await _seen(asha)
        listed = (await asha.get("/v1/order-events", params={"since": int(filled.id or 0) - 1})).json()
    assert not await store.rows.fetchval("SELECT hinted_at > $1 FROM book_looks", locked_at)
    assert (filled.data["type"], filled.data["order"]["tradingSymbol"]) == ("FILLED", SEEDED)
    assert stream.updates == listed["orderEvents"] == [filled.data]


async def test_a_listener_of_a_killed_replica_goes_on_at_the_other_one(
    store: Store, doomed: Process, survivor: Process, asha: Trader, broker: SimulatedBroker
) -> None:
    """A busy minute goes by meanwhile: thirty orders are placed, changed and filled, most of it after the end."""
    await asha.get("/v1/orders")
    async with listening(asha, doomed.service) as before:
        numbers = [await asha.placed() for _ in range(ORDERS // 3)]
        await _seen(asha)
        await before.until(1)
        placing = asyncio.create_task(_placed(asha, ORDERS - len(numbers)))
        await asyncio.to_thread(doomed.kill)
        assert await before.ended() is None  # no word of farewell: as after a power cut
        numbers += await placing
    await _seen(asha)
    for number in numbers:
        assert (await asha.modify(number, {"price": "14.05"})).status_code == 200
    await _seen(asha)
    broker.set_price(SYMBOL, "13.00")
    async with listening(asha, last_id=before.last_id) as after:
        await after.until(3 * ORDERS - len(before.updates))
        await _seen(asha)
        listed = (
            await asha.get("/v1/order-events", params={"since": before.updates[0]["id"] - 1, "limit": 200})
        ).json()
    _told_once(numbers, before, after)
    assert before.updates + after.updates == listed["orderEvents"]


async def _placed(asha: Trader, count: int) -> list[str]:
    return [await asha.placed() for _ in range(count)]


async def _seen(asha: Trader) -> None:
    """Have the book read now."""
    assert (await asha.get("/v1/orders", headers={"Cache-Control": "no-cache"})).status_code == 200


def _told_once(numbers: list[str], before: Stream, after: Stream) -> None:
    """Hold what both streams told, one after the other, against what each order has lived through."""
    told = before.updates + after.updates
    assert len(told) == 3 * ORDERS
    assert [each["id"] for each in told] == list(range(told[0]["id"], told[0]["id"] + 3 * ORDERS))
    for number in numbers:
        types = [each["type"] for each in told if each["order"]["orderNo"] == number]
        assert types == ["OPEN", "MODIFIED", "FILLED"]
