"""A market day of one replica in five minutes: what was done in it leaves nothing behind but rows, and those can go.

One process of the real command with production settings, its permits in Postgres, everything on loopback. Streams live
for seconds instead of minutes, and two cut-offs fall into the day. `./run drill` runs it; its table stands in
docs/reliability.md.
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

from app.clock import IST, Clock
from tests.support.day import Day
from tests.support.environment import partner
from tests.support.fleet import Fleet, fleet
from tests.support.honest import SYMBOL, browsers
from tests.support.replicas import Store, until
from tests.support.usage import Usage, Watched, look_every

USERS = [f"DRILL{number:02}" for number in range(40, 80)]
LASTS = 290.0  # seconds
WARM_AFTER = 90.0
CUT_OFFS_AFTER = (120, 210)  # seconds
MEMORY = 4.0  # MiB; caches that hold the books of the day grow with them, and the allocator keeps what it was given
SPREAD = 6  # of files, connections and tasks: how many requests are under way differs from look to look

GROW = ("sessions", "spent_auth_codes", "intents", "seen_orders", "order_events", "ledger", "rate_permits")
"""A row, or a few, for each thing that was done."""
BOUNDED = ("users", "broker_sessions", "watches", "book_looks", "ledger_heads", "rate_heads")
"""No more than some for each user."""
PUT_OFF = 0.001  # of all requests: a permit that takes too long is none, and this machine may have other work
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
    faulthandler.dump_traceback_later(420, exit=True, file=2)  # standard error


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


async def _is_quiet(watched: Watched, store: Store, day: Day) -> Usage:
    """Return what the replica uses when nobody is there any more; polls of open orders keep a connection or two."""

    async def nobody_is_there() -> Usage | None:
        look = await watched.look(store, day.open_streams)
        return look if look.clients == 0 else None

    return await until(nobody_is_there, within=60)


def _is_flat(early: Usage, late: Usage) -> None:
    assert late.memory - early.memory <= MEMORY, (early, late)
    for name in ("files", "clients", "broker", "database", "tasks"):
        assert getattr(late, name) - getattr(early, name) <= SPREAD, (name, early, late)


def _rows_are_of_what_was_done(rows: dict[str, int], day: Day) -> None:
    done, users = day.done, len(USERS)
    assert rows["sessions"] == rows["spent_auth_codes"] == done["sign-ins"]
    assert rows["intents"] == done["intents"] >= done["orders"] + done["cancels"]
    assert sum(count for name, count in done.items() if name.startswith("refused")) <= users  # at a cut-off
    assert rows["order_events"] >= rows["seen_orders"] >= done["orders"]
    assert {name: rows[name] for name in BOUNDED if rows[name] > 3 * users + 3} == {}


def _table(looks: dict[str, Usage]) -> str:
    names = {
        "memory": "memory (MiB)", "files": "open files", "tasks": "tasks", "clients": "connections of callers",
        "broker": "connections to the broker", "database": "connections to Postgres", "streams": "open streams",
    }  # fmt: skip
    rows = [f"| {words} | " + " | ".join(f"{getattr(each, name):.4g}" for each in looks.values()) + " |"
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
        idle = await watched.look(store, 0)
        looking = look_every(watched, store, 3, lambda: day.open_streams)
        async with _beside(looking, _keep_the_broker_small(deployment)):
            await day.go_by(USERS, LASTS)
        quiet = await _is_quiet(watched, store, day)
        rows = await _rows(store)
        third = (LASTS - WARM_AFTER) / 3
        thirds = [watched.between(WARM_AFTER + third * each, WARM_AFTER + third * (each + 1)) for each in range(3)]
        looks = {"before": idle, "first third": thirds[0], "second": thirds[1], "last": thirds[2], "afterwards": quiet}
        print(f"\n{_table(looks)}\n{dict(day.done)}\nrows: {rows}")  # noqa: T201  # it is what a soak is run for
        await _let_years_pass(store)
        purged = await asyncio.to_thread(partial(partner, "purge", environment=deployment.environment))
        left = await _rows(store)
        print(f"{purged.stdout}rows left: {left}")  # noqa: T201  # the same
        verified = await asyncio.to_thread(partial(partner, "audit", "verify", environment=deployment.environment))
    _is_flat(thirds[0], thirds[2])
    assert quiet.tasks - idle.tasks <= SPREAD
    assert quiet.files - idle.files <= SPREAD + quiet.database
    _rows_are_of_what_was_done(rows, day)
    assert day.done["met a cut-off"] >= len(USERS)
    assert day.done["put off"] <= PUT_OFF * day.done["reads"]
    assert {name: left[name] for name in PURGED if left[name]} == {}
    assert verified.returncode == 0, verified.stderr
    assert "internal_error" not in replica.written()
