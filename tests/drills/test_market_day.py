"""A market day of one replica in minutes: what was done in it leaves nothing behind but rows, and those can go.

One process of the real command with production settings, its permits in Postgres, everything on loopback. Streams live
for seconds instead of minutes, and cut-offs fall into the day. It has two halves of the same things done by the same
people. After each everybody goes, and what is kept for a minute goes too: what the replica has then is what stays, and
the second half has left no more of it than the first. `./run drill` runs it; its table stands in docs/reliability.md.
"""

import asyncio
import faulthandler
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.clock import IST, Clock, monotonic
from tests.support.day import Day
from tests.support.environment import partner
from tests.support.fleet import Fleet, fleet
from tests.support.honest import SYMBOL, browsers
from tests.support.replicas import Store, until
from tests.support.usage import Usage, Watched, look_every

USERS = [f"DRILL{number:02}" for number in range(40, 80)]
MORNING, MORNINGS_TRADE = 85.0, 45.0  # seconds
AFTERNOON, AFTERNOONS_TRADE = 135.0, 20.0  # seconds
FLAT_FROM, FLAT_FOR = 80.0, 25.0  # seconds of the afternoon: the books have stood still for a minute; looks compared
CUT_OFFS_AFTER = (60, 270)  # seconds
KEPT_FOR = 85.0  # seconds; answers are kept for sixty, and looked through every fifteen
COMES_BACK_WITHIN = 180.0  # seconds; books that were read are looked through every sixty
PIECES, LARGE = 2_000, 0.2  # pieces, MiB: what the library of Postgres and our tables of words learn in an afternoon
GROWTH = 2.5  # MiB of memory while only time goes by: the allocator fills what lies between kept answers bit by bit
ENOUGH = 3_000  # reads of an afternoon: a kibibyte left by each is more than both of these bounds, in whatever pieces

GROW = ("sessions", "spent_auth_codes", "intents", "seen_orders", "order_events", "ledger", "rate_permits")
"""A row, or a few, for each thing that was done."""
BOUNDED = ("users", "broker_sessions", "watches", "book_looks", "ledger_heads", "rate_heads")
"""No more than some for each user."""
PURGED = (
    "sessions",
    "broker_sessions",
    "spent_auth_codes",
    "intents",
    "seen_orders",
    "order_events",
    "watches",
    "book_looks",
)

pytestmark = pytest.mark.drill


@pytest.fixture
def _in_its_own_time() -> None:
    """Have more than the ninety seconds after which a test is held for stuck; pytest ends this with the test."""
    faulthandler.dump_traceback_later(540, exit=True, file=2)  # standard error


@pytest.fixture
async def deployment(_in_its_own_time: None, tmp_path: Path) -> AsyncIterator[Fleet]:
    now = Clock().now().astimezone(IST)
    cut_offs = ",".join(f"{now + timedelta(seconds=each):%H:%M:%S}" for each in CUT_OFFS_AFTER)
    settings = {
        "BROKER_SESSION_CUTOFFS": cut_offs, "ORDER_STREAM_LIFE": "6", "ORDER_STREAM_HEARTBEAT": "1",
        "RATE_LIMITS_USER": "order=-/-/-/100000,non-trading=-/-/-/100000", "ORDERS_PER_SECOND_PER_EXCHANGE": "0",
        "SIGN_IN_LIMIT_PER_ADDRESS": "100000",
    }  # fmt: skip
    async with fleet(tmp_path, settings, with_valkey=False, strict="off", replicas=1, counted=True) as deployed:
        deployed.broker.set_price(SYMBOL, "50.00")
        for user in USERS:
            deployed.broker.add_investor(user)
        yield deployed


async def _rows(store: Store) -> dict[str, int]:
    return {name: await store.rows.fetchval(f"SELECT count(*) FROM {name}") for name in (*GROW, *BOUNDED)}


async def _let_years_pass(store: Store) -> None:
    """Move everything but the ledger back by ten years, as if nobody had come since."""
    columns = await store.rows.fetch(
        "SELECT table_name, string_agg(format('%1$I = %1$I - interval ''10 years''', column_name), ', ') AS earlier"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ANY ($1)"
        " AND data_type IN ('timestamp with time zone', 'date') GROUP BY table_name", [*PURGED, "users"]
    )  # fmt: skip
    for each in columns:
        await store.rows.execute(f"UPDATE {each['table_name']} SET {each['earlier']}")


async def _everybody_has_gone(watched: Watched, store: Store) -> None:
    async def nobody_is_there() -> bool:
        return (await watched.look(store, 0)).clients == 0

    await until(nobody_is_there, within=60)


async def _at_rest(watched: Watched, store: Store) -> Usage:
    """Return what the replica has once everybody has gone, and what is kept for a while as well."""
    await _everybody_has_gone(watched, store)
    await asyncio.sleep(KEPT_FOR)
    return await watched.look(store, 0, tidied=True)


async def _back_to(idle: Usage, noon: Usage, watched: Watched, store: Store) -> Usage:
    """Return what the replica has as soon as it is no more than before, or in the end."""
    await _everybody_has_gone(watched, store)
    gives_up_at = monotonic() + COMES_BACK_WITHIN
    while True:
        look = await watched.look(store, 0, tidied=True)
        if not _more(idle, noon, look) or monotonic() >= gives_up_at:
            return look
        await asyncio.sleep(3)


def _more(idle: Usage, noon: Usage, now: Usage) -> dict[str, float]:
    """Return what there is too much more of: than before anybody came, and of what is learned in use, than at noon."""
    learned = {"pieces": PIECES, "large": LARGE, "database": 1}
    found = {name: getattr(now, name) - getattr(noon, name) - bound for name, bound in learned.items()}
    for name in ("tasks", "clients", "broker", "other_files"):
        found[name] = getattr(now, name) - getattr(idle, name)
    return {name: more for name, more in found.items() if more > 0}


def _is_flat(early: Usage, late: Usage) -> None:
    """Hold a moment without new orders against a later one."""
    assert late.memory - early.memory <= GROWTH, (early, late)
    assert late.database <= early.database + 1, (early, late)
    for each in (early, late):
        assert each.broker <= len(USERS), each  # nobody asks for two things at once
        assert each.clients <= 3 * len(USERS), each  # a stream, a request, and one that the proxy keeps
        assert each.tasks <= 13 + 4 * len(USERS), each


def _rows_are_of_what_was_done(rows: dict[str, int], day: Day) -> None:
    done, users = day.done, len(USERS)
    assert rows["sessions"] == rows["spent_auth_codes"] == done["sign-ins"]
    assert rows["intents"] == done["intents"] >= done["orders"] + done["cancels"]
    assert {name for name in done if name.startswith("refused")} <= {"refused: not-sent"}  # at a cut-off, or put off
    assert rows["order_events"] >= rows["seen_orders"] >= done["orders"]
    assert {name: rows[name] for name in BOUNDED if rows[name] > 3 * users + 3} == {}


def _table(looks: dict[str, Usage]) -> str:
    names = {
        "memory": "memory (MiB)", "pieces": "pieces of memory", "large": "large ones (MiB)",
        "files": "open files", "tasks": "tasks", "clients": "connections of callers",
        "broker": "connections to the broker", "database": "connections to Postgres", "streams": "open streams",
    }  # fmt: skip
    rows = [f"| {words} | " + " | ".join(f"{getattr(each, name):,.6g}" for each in looks.values()) + " |"
            for name, words in names.items()]  # fmt: skip
    return "\n".join([f"| | {' | '.join(looks)} |", "|---|" + "---|" * len(looks), *rows])


async def _keep_the_broker_small(fleet: Fleet) -> None:
    """Have the broker forget what it was asked, now and then: it is no part of what is measured."""
    while True:
        await asyncio.sleep(10)
        await asyncio.to_thread(fleet.broker.forget_requests)


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these while the block runs; raises what went wrong in them."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []


async def test_a_market_day_leaves_nothing_behind_but_rows(deployment: Fleet) -> None:
    [replica] = deployment.replicas
    async with browsers() as client, Store.open(deployment.database_url) as store:
        day, watched = Day(client, deployment), replica.watched()
        idle = await watched.look(store, 0, tidied=True)
        looking = look_every(watched, store, 3, lambda: day.open_streams)
        async with _beside(looking, _keep_the_broker_small(deployment)):
            await day.go_by(USERS, MORNING, trading_for=MORNINGS_TRADE)
            noon = await _at_rest(watched, store)
            begins, reads = watched.seconds, day.done["reads"]
            await day.go_by(USERS, AFTERNOON, trading_for=AFTERNOONS_TRADE)
            evening, reads = await _back_to(idle, noon, watched, store), day.done["reads"] - reads
        rows = await _rows(store)
        early = watched.between(begins + FLAT_FROM, begins + FLAT_FROM + FLAT_FOR)
        late = watched.between(begins + AFTERNOON - FLAT_FOR, begins + AFTERNOON)
        looks = {"before": idle, "noon": noon, "afternoon": early, "half a minute later": late, "evening": evening}
        print(f"\n{_table(looks)}\n{dict(day.done)}\nrows: {rows}")  # noqa: T201  # it is what a soak is run for
        await _let_years_pass(store)
        purged = await asyncio.to_thread(partial(partner, "purge", environment=deployment.environment))
        left = await _rows(store)
        print(f"{purged.stdout}rows left: {left}")  # noqa: T201  # the same
        verified = await asyncio.to_thread(partial(partner, "audit", "verify", environment=deployment.environment))
    assert reads >= ENOUGH
    assert _more(idle, noon, evening) == {}, (idle, noon, evening)
    _is_flat(early, late)
    _rows_are_of_what_was_done(rows, day)
    assert day.done["met a cut-off"] >= len(USERS)
    assert day.diary.leaks == []
    assert {name: left[name] for name in PURGED if left[name]} == {}
    assert verified.returncode == 0, verified.stderr
    assert "internal_error" not in replica.written()
