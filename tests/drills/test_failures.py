"""The failure drill: replicas, stores and broker fail one after another under load; nothing is lost, doubled or leaked.

Two replicas of the real command with production settings behind the shipped nginx, everything on loopback, within four
minutes a store of permits. `./run drill` runs it; its table stands in docs/reliability.md.
"""

import asyncio
import faulthandler
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.clock import monotonic
from tests.support.drilling import GREEDY, PROBE, STEADY, Crew, Entry, during, table
from tests.support.environment import partner
from tests.support.fleet import Fleet, Replica, fleet
from tests.support.honest import SYMBOL
from tests.support.production import API_SECRET, KEYS
from tests.support.proofs import (
    each_was_sent_once,
    every_wish_has_its_end,
    faults_of_ours,
    nobody_was_shown_what_is_anothers,
    nothing_secret_was_written,
    streams_told_everything_once,
    worst_windows,
)
from tests.support.replicas import Store, until

USERS = [PROBE, GREEDY, *STEADY]
LIMITS = {"order": (5, 40, 3000, 5000), "nonTrading": (15, 180, 3000, 5000)}
"""So small that one of them is at his limits all the time."""
LENGTHS = (1, 60, 3600, 86_400)
AT_AN_EXCHANGE = 5
SETTINGS = {
    "RATE_LIMITS_USER": ",".join(
        f"{ours}={'/'.join(str(limit) for limit in LIMITS[theirs])}"
        for ours, theirs in (("order", "order"), ("non-trading", "nonTrading"))
    ),
    "ORDERS_PER_SECOND_PER_EXCHANGE": str(AT_AN_EXCHANGE),
}
STOPS_WITHIN = 20.0  # seconds, as docs/deploying.md promises
CONNECTIONS = 2 * (10 + 7)  # of both replicas, docs/reliability.md

pytestmark = pytest.mark.drill


@pytest.fixture
def _in_its_own_time() -> None:
    """Have more than the ninety seconds after which a test is held for stuck; pytest ends this with the test."""
    faulthandler.dump_traceback_later(300, exit=True, file=2)  # standard error


@pytest.fixture(params=["postgres", "valkey"])
async def deployment(request: pytest.FixtureRequest, _in_its_own_time: None, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, SETTINGS, with_valkey=request.param == "valkey") as deployed:
        deployed.broker.set_limits(
            table={name: dict(zip(map(str, LENGTHS), limits, strict=True)) for name, limits in LIMITS.items()},
            ordersPerSecondPerExchange=AT_AN_EXCHANGE,
        )
        deployed.broker.set_price(SYMBOL, "50.00")
        yield deployed


async def replica_is_killed(crew: Crew, fleet: Fleet) -> Entry:
    replica, began_at = fleet.replicas[0], monotonic()
    await replica.kill()
    recovered = await crew.recovers(began_at)
    await _start(fleet, replica)
    return replace(await crew.entry("a replica killed, started again", began_at, monotonic(), 0), recovered=recovered)


async def _start(fleet: Fleet, replica: Replica) -> None:
    """Start it, and return when the proxy uses it: before that the other one is not to be touched."""
    await replica.start()
    await fleet.is_used(replica, by=fleet.access_log.stat().st_size)


async def replica_is_restarted(crew: Crew, fleet: Fleet) -> Entry:
    replica, began_at = fleet.replicas[1], monotonic()
    ending = asyncio.create_task(replica.stop())
    recovered = await crew.recovers(began_at)
    took = await ending
    await _start(fleet, replica)
    entry = await crew.entry(f"a replica restarted gracefully (it ended in {took:.1f} s)", began_at, monotonic(), 0)
    assert took <= STOPS_WITHIN
    acts = [
        each for each in crew.diary.wishes
        if each.answers and each.begun_at >= began_at  # of those before, the killed one may have left some open
    ]  # fmt: skip
    assert len(acts) > 10
    failed = [each for wish in acts for each in wish.answers if each.has_failed and each.status != 429]
    assert not failed, [(each, each.content) for each in failed]
    return replace(entry, recovered=recovered)


async def _in_thread(work: Any) -> None:
    await asyncio.to_thread(work)


async def _flap(fleet: Fleet) -> None:
    for _ in range(6):
        await asyncio.to_thread(fleet.gate.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(fleet.gate.start)
        await asyncio.sleep(0.5)


async def _talk_nonsense(fleet: Fleet) -> None:
    for fault, after in (("html200", False), ("truncatedJson", True), ("http500", True)):
        await asyncio.to_thread(partial(fleet.broker.break_call, "*", fault, user="*", after=after))
        await asyncio.sleep(2.5)


def _broken(fleet: Fleet, fault: str, seconds: float | None = None) -> Any:
    return partial(_in_thread, partial(fleet.broker.break_call, "*", fault, user="*", seconds=seconds))


async def _go_through_all(crew: Crew, fleet: Fleet) -> list[Entry]:
    cluster, gate, broker, valkey = fleet.cluster, fleet.gate, fleet.broker, fleet.valkey
    mended = partial(_in_thread, partial(broker.mend, "*"))
    do = partial(during, crew)
    entries = [
        await replica_is_killed(crew, fleet),
        await replica_is_restarted(crew, fleet),
        await do("Postgres stopped (fast)", partial(_in_thread, cluster.stop), partial(_in_thread, cluster.start), 5),
        await do("Postgres killed", partial(_in_thread, cluster.kill), partial(_in_thread, cluster.start), 5),
    ]
    if valkey:
        begin, end = partial(_in_thread, valkey.stop), partial(_in_thread, valkey.start)
        entries.append(await do("Valkey stopped", begin, end, 5))
        entries.append(await do("Valkey killed", partial(_in_thread, valkey.kill), end, 5))
    return [
        *entries,
        await do("broker away", partial(_in_thread, gate.kill), partial(_in_thread, gate.start), 6),
        await do("broker slow, two seconds each", _broken(fleet, "slow", 2.0), mended, 6),
        await do("broker hangs", _broken(fleet, "hanging"), mended, 9),
        await do("broker flaps", partial(_flap, fleet), mended, 0),
        await do("broker answers nonsense", partial(_talk_nonsense, fleet), mended, 0),
    ]


async def _find_out(store: Store, taken: list[dict[str, Any]]) -> None:
    """Return when all that the broker took has been found, and nothing is under way."""
    marks = [each["remarks"] for each in taken]

    async def is_found() -> bool:
        return not await store.rows.fetchval(
            "SELECT count(*) FROM intents WHERE state = 'sending'"
            " OR (action = 'PLACE' AND state <> 'accepted' AND correlation = ANY ($1))", marks
        )  # fmt: skip

    for user in USERS:
        await store.ask_for_a_look(user)
    await until(is_found, within=60)


async def _refuse_the_absent(store: Store) -> int:
    """Let the minutes pass in which clean books must not show an order; return how many are refused then."""
    query = "SELECT id, user_id FROM intents WHERE state = 'unknown' AND action = 'PLACE'"
    absent = await store.rows.fetch(query)

    async def are_refused() -> bool:
        left = await store.rows.fetch(query)
        for each in left:
            await store.age(each["id"], 6)
            await store.ask_for_a_look(each["user_id"])
        await asyncio.sleep(0.5)  # a look takes that long; asking without end would only hold it up
        return not left

    await until(are_refused, within=60)
    return len(absent)


async def _events_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    rows = await store.rows.fetch("SELECT user_id, number, type FROM order_events ORDER BY user_id, number")
    return {user: [dict(each) for each in rows if each["user_id"] == user] for user in USERS}


async def _hear_everything(crew: Crew, store: Store) -> None:
    """Have every book read, and return when everybody has heard what was seen in it."""
    for user, investor in crew.investors.items():
        assert (await investor.insist_on_reading("orders")).status == 200
        last = await store.rows.fetchval("SELECT last_event FROM users WHERE id = $1", user)
        await crew.ears[user].hears_until(last, within=20)


async def _sessions_are_as_before(store: Store) -> None:
    for table_name in ("sessions", "broker_sessions"):
        found = await store.rows.fetchrow(
            f"SELECT count(*) AS every, count(*) FILTER (WHERE ended_at IS NULL) AS alive FROM {table_name}"
        )
        assert dict(found) == {"every": len(USERS), "alive": len(USERS)}, table_name
    connections = await store.rows.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert connections <= CONNECTIONS


def _no_limit_was_exceeded(fleet: Fleet, requests: list[dict[str, Any]]) -> str:
    limits, worst = fleet.broker.limits(), worst_windows(requests, LENGTHS)
    told = {
        f"{name} {length} s": f"{most} of {LIMITS[name][LENGTHS.index(length)]}"
        for (name, length), most in worst.items()
    }
    assert limits["refusedTotal"] == 0, (limits, told)
    assert all(most <= LIMITS[name][LENGTHS.index(length)] for (name, length), most in worst.items()), told
    return f"the most calls of one user in a window: {told}"


async def _prove(crew: Crew, fleet: Fleet, store: Store) -> str:
    broker, diary = fleet.broker, crew.diary
    await _find_out(store, broker.taken())
    absent = await _refuse_the_absent(store)
    await _hear_everything(crew, store)
    await crew.stop_listening()
    requests, taken, intents = broker.received(), broker.taken(), await store.intents()
    ended = every_wish_has_its_end(diary.wishes, intents, taken)
    each_was_sent_once(requests, intents)
    limits = _no_limit_was_exceeded(fleet, requests)
    nobody_was_shown_what_is_anothers(diary, taken)
    await _sessions_are_as_before(store)
    updates = streams_told_everything_once(list(crew.ears.values()), await _events_of(store), taken)
    tokens = {each["headers"].get("authorization", "Bearer nobody").split()[1] for each in requests}
    cookies = {each.cookie.partition("=")[2] for each in crew.investors.values()}
    written = await asyncio.to_thread(fleet.written)
    nothing_secret_was_written(written, {*tokens, *cookies, API_SECRET, KEYS.partition(":")[2]} - {"nobody"})
    assert faults_of_ours(written) == []
    whole = await _verified(fleet, written)
    ends = f"{sum(ended.values())} keys sent with orders ended {dict(ended)}, {absent} by five minutes of clean books"
    heard = f"{updates} order updates heard over {sum(each.streams for each in crew.ears.values())} streams"
    return "\n".join(
        [f"{len(diary.answers)} answers", ends, f"{len(taken)} orders at the broker", heard, limits, whole]
    )


async def _verified(fleet: Fleet, written: str) -> str:
    """Judge the ledger, also against the heads that the replicas have logged in all of their lives."""
    log = fleet.folder / "service.log"
    log.write_text("".join(f"{line}\n" for line in written.splitlines() if '"ledger_head"' in line), "utf-8")
    judged = await asyncio.to_thread(
        partial(partner, "audit", "verify", "--heads", str(log), environment=fleet.environment)
    )
    assert judged.returncode == 0, judged.stderr
    return judged.stdout.strip()


async def test_whatever_fails_no_order_is_lost_or_doubled_and_everything_recovers(deployment: Fleet) -> None:
    async with Crew.of(deployment, USERS) as crew:
        crew.diary.secrets |= await _tokens(crew, deployment)
        crew.begin()
        await crew.recovers(monotonic())
        began_at = monotonic()
        entries = await _go_through_all(crew, deployment)
        lasted = timedelta(seconds=round(monotonic() - began_at))
        await crew.stop()
        print(f"\n{table(entries)}")  # noqa: T201  # it is what a drill is run for
        async with Store.open(deployment.database_url) as store:
            proved = await _prove(crew, deployment, store)
        print(f"{proved}\nfaults went on for {lasted}")  # noqa: T201  # the same


async def _tokens(crew: Crew, fleet: Fleet) -> set[str]:
    """Have everybody's token used once, and return them all."""
    for each in crew.investors.values():
        assert (await each.read("funds")).status == 200
    received = await asyncio.to_thread(fleet.broker.received, "funds")
    tokens = {each["headers"]["authorization"].split()[1] for each in received}
    assert len(tokens) == len(USERS)
    return tokens
