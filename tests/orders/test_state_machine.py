"""Whatever happens in whatever order, at two replicas: one request for one intent, and nothing accepted is lost."""

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.processes import Process
from tests.support.replicas import PUBLIC, Store, Trader, fresh_key, received
from tests.support.simulated import SimulatedBroker

T = TypeVar("T")

LOST = ["reset", "http500", "html200", "emptyList", "truncatedJson", "http404", "okWithoutResult"]
NOT_TAKEN = ["dead401Text", "dead200Unauthorized", "http429", "limitText"]
"""What counts as not taken, although the broker may have taken it all the same."""
ASSUMED = {"broker-session-expired", "broker-rate-limited"}

replica_numbers = st.integers(0, 1)
orders = st.fixed_dictionaries({
    "quantity": st.sampled_from([2, 3, 4]), "price": st.sampled_from(["14.00", "13.95"]),
    "allowDuplicate": st.booleans(),
})  # fmt: skip


class World:
    """Two replicas as processes, their database, the broker and one investor, driven from outside any loop."""

    def __init__(self, broker: SimulatedBroker, worker: str, folder: Path) -> None:
        self.broker = broker
        self._name = f"machine_{worker}_{fresh_key()[:8]}"
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def open(self) -> None:
        self._thread.start()
        self.run(self._open())

    async def _open(self) -> None:
        self.url = await create_clone(self._name)
        self.store = await self._stack.enter_async_context(Store.open(self.url))
        given = configured(self.url, self.broker.url, PUBLIC, broker_order_deadline="0.6", broker_read_deadline="1")
        self.replicas = [Process(given, self._folder / f"{number}.log") for number in range(2)]
        for replica in self.replicas:
            self._stack.callback(replica.kill)
            await replica.start()

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def begin(self) -> None:
        """Begin anew: an empty database, a fresh broker, an investor signed in."""
        self.broker.reset()
        await empty(self.url)
        self.asha = Trader(self.replicas[0].service)
        await self.asha.sign_in(self.broker)

    async def end(self) -> None:
        await self.asha.aclose()


class Orders(RuleBasedStateMachine):
    """Orders placed, repeated, cancelled and looked for while everything around them fails."""

    world: World
    keys: Bundle[tuple[str, dict[str, Any]]] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.accepted: dict[str, set[str]] = {}
        self.is_blind = False
        self.is_expired = False
        self.world.run(self.world.begin())

    @initialize(remarks_in=st.sampled_from(["history", "history", "book", "nowhere"]))
    def switch_the_echo(self, remarks_in: str) -> None:
        self.is_blind = remarks_in == "nowhere"
        self.world.broker.order_switches("*", remarksIn=remarks_in)

    @rule(target=keys, order=orders, fault=st.sampled_from([None, *LOST, *NOT_TAKEN]), is_taken=st.booleans(),
          replica=replica_numbers, copies=st.sampled_from([1, 1, 3]))  # fmt: skip
    def place(self, order: dict[str, Any], fault: str | None, replica: int, copies: int, *, is_taken: bool) -> Any:
        return self._place(order, fault, replica, copies, is_taken=is_taken)

    @rule(target=keys, order=orders, fault=st.sampled_from(LOST), replica=replica_numbers)
    def place_and_hear_nothing(self, order: dict[str, Any], fault: str, replica: int) -> Any:
        return self._place(order, fault, replica, 2, is_taken=True)

    @rule(target=keys, order=orders, replica=replica_numbers)
    def place_and_be_refused(self, order: dict[str, Any], replica: int) -> Any:
        return self._place(order, "notOk", replica, 1, is_taken=False)

    def _place(self, order: dict[str, Any], fault: str | None, replica: int, copies: int, *, is_taken: bool) -> Any:
        if fault:
            self.world.broker.break_call("place", fault, times=1, after=is_taken)
        key = fresh_key()
        self.world.run(self._send(key, order, replica, copies))
        self.world.broker.mend()
        self.world.run(self.world.store.forget_pauses())
        return key, order

    @rule(target=keys, replica=replica_numbers, is_taken=st.booleans())
    def kill_a_replica_while_it_places(self, replica: int, *, is_taken: bool) -> Any:
        key, order = fresh_key(), {"quantity": 6, "allowDuplicate": True}
        self.world.run(self._kill_while_placing(key, order, replica, is_taken=is_taken))
        self.world.broker.mend()
        return key, order

    @rule(sent=keys, replica=replica_numbers, copies=st.sampled_from([1, 2]))
    def repeat(self, sent: tuple[str, dict[str, Any]], replica: int, copies: int) -> None:
        self.world.run(self._send(*sent, replica, copies))

    @rule()
    def look(self) -> None:
        self.world.run(self._look())

    @rule(minutes=st.sampled_from([1, 6]))
    def let_time_pass(self, minutes: int) -> None:
        self.world.run(self._age(minutes))

    @rule(trouble=st.sampled_from(["hide", "show", "book", "history", "fall", "rise", "expire", "database"]))
    def change_what_is_around(self, trouble: str) -> None:
        broker = self.world.broker
        match trouble:
            case "hide":
                broker.order_switches(shownAfterSeconds=600)
            case "show":
                broker.clear_order_switches()
            case "book":
                broker.break_call("orderBook", "http500", user="*", times=2)
            case "history":
                broker.break_call("orderHistory", "reset", user="*", times=2)
            case "fall" | "rise":
                broker.set_price("YESBANK-EQ", "13.90" if trouble == "fall" else "14.20")
            case "expire":
                broker.expire()
                self.is_expired = True
            case "database":
                self.world.run(self._lose_connections())

    @precondition(lambda self: self.is_expired)
    @rule()
    def sign_in_again(self) -> None:
        self.world.run(self._sign_in())
        self.is_expired = False

    @rule(sent=keys, replica=replica_numbers)
    def cancel(self, sent: tuple[str, dict[str, Any]], replica: int) -> None:
        self.world.run(self._cancel(sent[0], replica))

    @invariant()
    def every_request_has_its_own_intent(self) -> None:
        """What was received is asked first: the reconciler goes on meanwhile, and writes before it sends."""
        requests = {call: self.world.broker.received(call) for call in ("place", "cancel")}
        intents = self.world.run(self.world.store.intents())
        sent = Counter(each["body"][0]["remarks"] for each in requests["place"])
        assert max(sent.values(), default=0) <= 1, f"sent twice: {sent.most_common(1)}"
        assert set(sent) <= {each["correlation"] for each in intents if each["action"] == "PLACE"}
        cancels = Counter(each["body"][0]["orderNo"] for each in requests["cancel"])
        assert cancels <= Counter(each["order_no"] for each in intents if each["action"] == "CANCEL")

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        found = self.world.run(self._accepted())
        for placement_id, order_nos in self.accepted.items():
            assert order_nos <= found.get(placement_id, set())
        self.accepted = found

    def teardown(self) -> None:
        try:
            self.world.run(self._settle())
            self.world.run(self._compare())
        finally:
            self.world.run(self.world.end())

    async def _send(self, key: str, order: dict[str, Any], replica: int, copies: int) -> None:
        """Send an order several times at once, from one replica on in turn."""
        services = [each.service for each in self.world.replicas]
        asha = self.world.asha
        sending = (asha.place(key, at=services[(replica + copy) % 2], **order) for copy in range(copies))
        for answer in await asyncio.gather(*sending):
            assert answer.status_code in {201, 202, 401, 409, 422, 503}, answer.text

    async def _kill_while_placing(self, key: str, order: dict[str, Any], replica: int, *, is_taken: bool) -> None:
        dying, world = self.world.replicas[replica], self.world
        await world.asha.sign_in(world.broker)
        before = len(world.broker.received("place"))
        world.broker.break_call("place", "hanging", times=1, after=is_taken)
        placing = asyncio.create_task(world.asha.place(key, at=dying.service, **order))
        await received(world.broker, "place", before + 1)
        dying.kill()
        with pytest.raises(httpx.TransportError):
            await placing
        await dying.start()
        await world.store.rows.execute("UPDATE watches SET lease_until = now()")  # as 25 seconds later
        world.asha.base_url = httpx.URL(world.replicas[0].service.url)
        world.asha.home = world.replicas[0].service

    async def _look(self) -> None:
        if await self.world.store.rows.fetchval("SELECT count(*) FROM watches"):
            await self.world.store.looked()

    async def _age(self, minutes: int) -> None:
        for intent in await self.world.store.intents():
            await self.world.store.age(str(intent["id"]), minutes)

    async def _sign_in(self) -> None:
        assert (await self.world.asha.sign_in(self.world.broker)).status_code == 303

    async def _lose_connections(self) -> None:
        await self.world.store.rows.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def _cancel(self, key: str, replica: int) -> None:
        found = await self.world.store.rows.fetchval("SELECT id FROM intents WHERE idempotency_key = $1", key)
        if found:
            url = f"{self.world.replicas[replica].service.url}/v1/placements/{found}"
            answer = await self.world.asha.delete(url)
            assert answer.status_code in {200, 202, 401, 422, 503}, answer.text

    async def _accepted(self) -> dict[str, set[str]]:
        """Return the orders of every accepted placement."""
        rows = await self.world.store.rows.fetch(
            "SELECT i.id, s.order_no FROM intents i JOIN seen_orders s ON s.intent_id = i.id"
            " WHERE i.action = 'PLACE' AND i.state = 'accepted'"
        )
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(str(row["id"]), set()).add(row["order_no"])
        return found

    async def _settle(self) -> None:
        """Mend everything, and let the reconciler look until it finds nothing more."""
        broker, store = self.world.broker, self.world.store
        broker.mend()
        broker.mend("*")
        broker.clear_order_switches()
        await self._age(1)
        await self._sign_in()
        before: list[Any] = []
        while (now := await store.intents()) != before:
            before = now
            await self._look()

    async def _compare(self) -> None:
        """Hold what is known of every placement against the broker's own book."""
        accepted = await self._accepted()
        for intent in await self.world.store.intents():
            if intent["action"] != "PLACE":
                continue
            taken = {each["orderNo"] for each in self.world.broker.taken() if each["remarks"] == intent["correlation"]}
            match intent["state"]:
                case "accepted":
                    assert accepted[str(intent["id"])] == taken != set()
                case "refused":
                    assert not taken or (self.is_blind and intent["reason"] in ASSUMED)
                case state:
                    assert state == "unknown"
                    assert not taken or (self.is_blind and taken <= set(intent["candidates"]))
                    answer = await self.world.asha.placement(str(intent["id"]))
                    assert (answer["outcome"], answer["orders"]) == ("unknown", [])


@pytest.fixture
def world(broker: SimulatedBroker, worker: str, tmp_path: Path) -> Iterator[World]:
    world = World(broker, worker, tmp_path)
    world.open()
    yield world
    world.close()


def run(world: World, *, examples: int, steps: int) -> None:
    """Run so many examples; one that fails is not made smaller, which would take longer than a test may."""
    machine = type("Orders", (Orders,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_whatever_happens_no_order_is_sent_twice_and_none_is_forgotten(world: World) -> None:
    run(world, examples=14, steps=15)


@pytest.mark.drill
@pytest.mark.parametrize("part", range(6))
def test_whatever_happens_for_long_no_order_is_sent_twice_and_none_is_forgotten(world: World, part: int) -> None:
    run(world, examples=12, steps=40)
