"""A replica dies, freezes, or loses its database at any step of placing: never a second order, and none forgotten."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.settings import Settings
from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.investor import slug
from tests.support.lines import line_to_port, line_to_socket
from tests.support.processes import Process, process
from tests.support.replicas import DEADLINE, PUBLIC, Store, Trader, locked, received, trading, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker
from workbench.children import Child, answers, free_port

KEY = "of-the-order-in-the-crash"


@pytest.fixture(scope="session")
async def crash_database(worker: str) -> str:
    return await create_clone(f"crashes_{worker}")


@pytest.fixture
async def store(crash_database: str) -> AsyncIterator[Store]:
    async with Store.open(crash_database) as store:
        yield store
    await empty(crash_database)


@pytest.fixture
def crash_settings(crash_database: str, broker: SimulatedBroker) -> Settings:
    return configured(crash_database, broker.url, PUBLIC, broker_order_deadline=DEADLINE, broker_connect_timeout="20")


@pytest.fixture
async def survivor(store: Store, crash_settings: Settings, tmp_path: Path) -> AsyncIterator[Process]:
    async with process(crash_settings, tmp_path / "survivor.log") as replica:
        yield replica


@pytest.fixture
async def doomed(store: Store, crash_settings: Settings, tmp_path: Path) -> AsyncIterator[Process]:
    async with process(crash_settings, tmp_path / "doomed.log") as replica:
        yield replica


@pytest.fixture
async def asha(survivor: Process, broker: SimulatedBroker) -> AsyncIterator[Trader]:
    async with trading(survivor.service, broker) as trader:
        yield trader


async def waiting(store: Store, beginning: str, other_than: int = 0) -> int:
    """Return the backend that waits for a lock with a statement that begins so."""

    async def found() -> int | None:
        pid: int | None = await store.rows.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE $1 || '%' AND pid <> $2",
            beginning,
            other_than,
        )  # fmt: skip
        return pid

    return await until(found)


HOLDS_THE_CHAIN = "WITH held AS"
WRITES_THE_INTENT = "WITH raised AS"


async def intent_of(store: Store) -> str:
    """Return the only intent's id, as soon as it is written."""

    async def found() -> str | None:
        return next((str(each["id"]) for each in await store.intents()), None)

    return await until(found)


async def send_by_has_passed(store: Store) -> None:
    async def has_passed() -> bool:
        return bool(await store.rows.fetchval("SELECT clock_timestamp() > send_by FROM intents"))

    await until(has_passed)


async def lost(placing: asyncio.Task[httpx.Response]) -> None:
    """See to it that a caller whose replica died has heard nothing."""
    with pytest.raises(httpx.TransportError):
        await placing


async def placed_once(asha: Trader, broker: SimulatedBroker, placement_id: str) -> None:
    """Hold what became of a placement against the broker's book: one request, one order, and it is told."""
    placement = await asha.becomes(placement_id, "accepted")
    [taken] = broker.taken()
    assert [each["orderNo"] for each in placement["orders"]] == [taken["orderNo"]]
    again = await asha.place(KEY)
    assert (again.status_code, again.json()["placementId"]) == (201, placement_id)
    assert len(broker.received("place")) == 1


@pytest.mark.parametrize(
    ("table", "statement"), [("ledger_heads", HOLDS_THE_CHAIN), ("users", WRITES_THE_INTENT),
                             ("intents", WRITES_THE_INTENT), ("watches", WRITES_THE_INTENT),
                             ("ledger", "WITH appended AS")],
)  # fmt: skip
async def test_killed_before_the_intent_is_committed_nothing_has_been(
    store: Store,
    doomed: Process,
    asha: Trader,
    broker: SimulatedBroker,
    crash_database: str,
    table: str,
    statement: str,
) -> None:
    async with locked(crash_database, table):
        placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
        await waiting(store, statement)
        doomed.kill()
        await lost(placing)
    assert broker.received("place") == []
    answer = await asha.place(KEY)
    assert (answer.status_code, len(await store.intents()), len(broker.taken())) == (201, 1, 1)


async def test_killed_before_the_first_byte_it_is_unknown_and_nothing_was_sent(
    store: Store, crash_settings: Settings, asha: Trader, broker: SimulatedBroker, tmp_path: Path
) -> None:
    async with line_to_port(urlsplit(broker.url).port or 0) as (line, port):
        line.hold()
        behind = crash_settings.model_copy(update={"broker_base_url": f"http://127.0.0.1:{port}/"})
        async with process(behind, tmp_path / "log") as doomed:
            placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
            placement_id = await intent_of(store)
            doomed.kill()
            await lost(placing)
    assert slug(await asha.place(KEY)) == "idempotency-key-in-use"
    await store.age(placement_id, 1)
    assert (await asha.place(KEY)).status_code == 202
    assert slug(await asha.place()) == "placement-unresolved"
    await store.looked()
    assert (await asha.placement(placement_id))["reason"] == "not-in-the-book"
    assert "sender-lost" in [each["reason"] for each in await store.ledger("place-outcome")]
    assert broker.received("place") == []


async def test_frozen_beyond_the_send_window_no_byte_leaves_any_more(
    store: Store, crash_settings: Settings, asha: Trader, broker: SimulatedBroker, tmp_path: Path
) -> None:
    """It gets its connection after all: only the time keeps the order back."""
    async with line_to_port(urlsplit(broker.url).port or 0) as (line, port):
        line.hold()
        behind = crash_settings.model_copy(
            update={"broker_base_url": f"http://127.0.0.1:{port}/", "broker_order_deadline": timedelta(seconds=20)}
        )
        async with process(behind, tmp_path / "log") as frozen:
            placing = asyncio.create_task(asha.place(KEY, at=frozen.service))
            placement_id = await intent_of(store)
            frozen.freeze()
            await send_by_has_passed(store)
            await line.open()
            frozen.thaw()
            answer = await placing
        assert (answer.status_code, slug(answer), answer.json()["reason"]) == (422, "order-refused", "not-sent")
        assert (line.calls, line.passed) == (2, 0)  # the first was the line's own, which held the others up
    assert answer.json()["placementId"] == placement_id
    assert (await asha.place(KEY)).json()["reason"] == "not-sent"
    assert broker.received("place") == []


async def test_killed_during_the_call_another_replica_finds_out(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "hanging", times=1, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    doomed.kill()
    await lost(placing)
    placement_id = await intent_of(store)
    assert slug(await asha.place(KEY)) == "idempotency-key-in-use"
    await store.age(placement_id, 1)
    await store.ask_for_a_look()
    await placed_once(asha, broker, placement_id)


async def test_killed_before_the_outcome_is_stored_another_replica_finds_out(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker, crash_database: str
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.5, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    async with locked(crash_database, "ledger_heads"):
        await waiting(store, HOLDS_THE_CHAIN)
        doomed.kill()
        await lost(placing)
    placement_id = await intent_of(store)
    assert (await store.intent(placement_id))["state"] == "sending"
    await store.age(placement_id, 1)
    await store.ask_for_a_look()
    await placed_once(asha, broker, placement_id)


@pytest.mark.drill
async def test_a_lost_order_is_found_in_time_without_anybodys_help(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "hanging", times=1, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    doomed.kill()
    await lost(placing)
    placement_id = await intent_of(store)
    await placed_once(asha, broker, placement_id)
    intent = await store.intent(placement_id)
    assert intent["resolved_at"] >= intent["doubtful_at"], "nobody touches it while its sender may still come back"


@pytest.mark.parametrize("fault", ["slow", "hanging"])
async def test_frozen_during_the_call_it_changes_nothing_that_others_have_found_out(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker, fault: str
) -> None:
    """Whether it wakes up to a late answer, or to none at all and would call it unknown."""
    broker.break_call("place", fault, times=1, seconds=0.3 if fault == "slow" else None, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    doomed.freeze()
    placement_id = await intent_of(store)
    await store.age(placement_id, 1)
    await store.ask_for_a_look()
    found = await asha.becomes(placement_id, "accepted")
    doomed.thaw()
    answer = await placing
    assert (answer.status_code, answer.json()["orders"]) == (201, found["orders"])
    assert await asha.placement(placement_id) == found
    await placed_once(asha, broker, placement_id)


async def test_a_restarted_replica_goes_on_where_it_was_killed(
    store: Store, doomed: Process, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "hanging", times=1, after=True)
    async with trading(doomed.service, broker) as asha:
        placing = asyncio.create_task(asha.place(KEY))
        await received(broker, "place")
        doomed.kill()
        await lost(placing)
        cookies = asha.cookies
    await store.age(await intent_of(store), 1)
    await doomed.start()
    async with Trader(doomed.service) as asha:
        asha.cookies = cookies
        await store.ask_for_a_look()
        await placed_once(asha, broker, await intent_of(store))


async def test_a_replica_that_is_asked_to_end_finishes_what_it_has_begun(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.5, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    doomed.ask_to_end()
    answer = await placing
    assert answer.status_code == 201
    await placed_once(asha, broker, answer.json()["placementId"])


async def test_a_replica_that_waits_for_no_caller_still_writes_down_what_it_has_sent(
    crash_settings: Settings, store: Store, asha: Trader, broker: SimulatedBroker, tmp_path: Path
) -> None:
    """The server cancels what its callers wait for; the order goes on, and the process with it."""
    broker.break_call("place", "slow", times=1, seconds=2, after=True)
    patient = crash_settings.model_copy(update={"broker_order_deadline": timedelta(seconds=5)})
    async with process(patient, tmp_path / "log", grace=1) as ending:
        placing = asyncio.create_task(asha.place(KEY, at=ending.service))
        await received(broker, "place")
        ending.ask_to_end()
        with suppress(httpx.TransportError):
            assert (await placing).status_code >= 500
        placement = await asha.becomes(await intent_of(store), "accepted")
    assert (await store.intent(placement["placementId"]))["resolved_by"] == "broker"
    await placed_once(asha, broker, placement["placementId"])


@pytest.mark.parametrize(("table", "statement"), [("ledger_heads", HOLDS_THE_CHAIN), ("watches", WRITES_THE_INTENT)])
async def test_a_database_lost_before_the_intent_is_told_and_not_remembered(
    store: Store,
    doomed: Process,
    asha: Trader,
    broker: SimulatedBroker,
    crash_database: str,
    table: str,
    statement: str,
) -> None:
    async with locked(crash_database, table):
        placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
        await store.rows.execute("SELECT pg_terminate_backend($1)", await waiting(store, statement))
        answer = await placing
    assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
    assert broker.received("place") == []
    again = await asha.place(KEY, at=doomed.service)
    assert (again.status_code, len(await store.intents()), len(broker.taken())) == (201, 1, 1)


async def test_connections_lost_during_the_call_are_made_anew_for_its_outcome(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.4, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    await store.rows.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    answer = await placing
    assert answer.status_code == 201
    await placed_once(asha, broker, answer.json()["placementId"])


async def test_a_connection_lost_while_the_outcome_is_stored_is_replaced_once(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker, crash_database: str
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.4, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    async with locked(crash_database, "ledger_heads"):
        await store.rows.execute("SELECT pg_terminate_backend($1)", await waiting(store, HOLDS_THE_CHAIN))
    answer = await placing
    assert answer.status_code == 201
    assert [each["outcome"] for each in await store.ledger("place-outcome")] == ["accepted"]
    await placed_once(asha, broker, answer.json()["placementId"])


async def test_an_outcome_that_cant_be_stored_is_unknown_and_its_number_is_in_the_log(
    store: Store, doomed: Process, asha: Trader, broker: SimulatedBroker, crash_database: str
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.4, after=True)
    placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
    await received(broker, "place")
    async with locked(crash_database, "ledger_heads"):
        first = await waiting(store, HOLDS_THE_CHAIN)
        await store.rows.execute("SELECT pg_terminate_backend($1)", first)
        second = await waiting(store, HOLDS_THE_CHAIN, other_than=first)
        await store.rows.execute("SELECT pg_terminate_backend($1)", second)
        answer = await placing
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    assert answer.json()["reason"] == "outcome-not-stored"
    number_is_logged(doomed, broker)
    placement_id = answer.json()["placementId"]
    await store.age(placement_id, 1)
    await store.ask_for_a_look()
    await placed_once(asha, broker, placement_id)


async def test_with_no_database_at_all_the_outcome_is_still_unknown_and_its_number_in_the_log(
    store: Store, crash_settings: Settings, asha: Trader, broker: SimulatedBroker, crash_database: str, tmp_path: Path
) -> None:
    [folder] = parse_qs(urlsplit(crash_database).query)["host"]
    real = Path(folder) / ".s.PGSQL.5432"
    async with line_to_socket(real, tmp_path) as line:
        url = crash_database.replace(folder, str(tmp_path))
        behind = configured(url, broker.url, PUBLIC, broker_order_deadline=DEADLINE)
        async with process(behind, tmp_path / "log") as doomed:
            broker.break_call("place", "slow", times=1, seconds=0.4, after=True)
            placing = asyncio.create_task(asha.place(KEY, at=doomed.service))
            await received(broker, "place")
            await line.cut()
            answer = await placing
            number_is_logged(doomed, broker)
    assert (answer.status_code, answer.json().get("outcome")) == (202, "unknown"), answer.text
    placement_id = answer.json()["placementId"]
    await store.age(placement_id, 1)
    await store.ask_for_a_look()
    await placed_once(asha, broker, placement_id)


async def test_the_shipped_program_is_killed_and_started_again(
    store: Store, broker: SimulatedBroker, crash_database: str, tmp_path: Path
) -> None:
    """Once with `partner serve` itself: what is killed above is the same service, only forked."""
    port = free_port()
    given = environment(crash_database, broker.url, PUBLIC, BROKER_ORDER_DEADLINE=DEADLINE)
    argv = [sys.executable, "-m", "app", "serve", "--port", str(port)]
    child = Child("the replica", argv, environment=given, log=tmp_path / "log", is_ready=answers(port, "/readyz"))
    service = Service(f"http://127.0.0.1:{port}", configured(crash_database, broker.url, PUBLIC))
    broker.break_call("place", "hanging", times=1, after=True)
    await asyncio.to_thread(child.start)
    try:
        async with trading(service, broker) as asha:
            placing = asyncio.create_task(asha.place(KEY))
            await received(broker, "place")
            child.kill()
            child.stop()
            await lost(placing)
            await store.age(await intent_of(store), 1)
            await asyncio.to_thread(child.start)
            await store.ask_for_a_look()
            await placed_once(asha, broker, await intent_of(store))
    finally:
        await asyncio.to_thread(child.stop)


def number_is_logged(replica: Process, broker: SimulatedBroker) -> None:
    [line] = [each for each in replica.written().splitlines() if "outcome-not-stored" in each]
    assert broker.taken()[0]["orderNo"] in line
    assert '"level": "error"' in line
