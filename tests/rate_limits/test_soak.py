"""Fifty investors, two hundred tabs, two replicas, a store of permits that dies in the middle: none is over a limit.

All on loopback and within a hundred seconds a store. Broker and replicas are given the same limits, so small that even
on a busy machine each window is full at some time.
"""

import asyncio
import faulthandler
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.schema import migrate_schema
from tests.support.configured import configured
from tests.support.crowd import Crowd, Tally
from tests.support.processes import Process, process
from tests.support.replicas import PUBLIC, Store, Trader, until
from tests.support.simulated import SimulatedBroker, simulated_broker
from workbench.servers import Postgres
from workbench.valkey import Valkey

USERS = [f"SOAK{number:02}" for number in range(1, 51)]
LASTS = 75.0  # seconds; more than a minute, so that what the first minute used can be used again in the same hour
HALF_TIME = LASTS / 2
TOLD_AWAY = 50  # callers who have heard that the store is away, before it comes back

LIMITS = {"order": (3, 9, 11, 5000), "nonTrading": (6, 24, 30, 5000)}
AT_AN_EXCHANGE = 3
SETTINGS = {
    "rate_limits_user": ",".join(
        f"{ours}={'/'.join(str(limit) for limit in LIMITS[theirs])}"
        for ours, theirs in (("order", "order"), ("non-trading", "nonTrading"))
    ),
    "orders_per_second_per_exchange": str(AT_AN_EXCHANGE),
    "read_reuse_seconds": "1",
    "broker_order_deadline": "3",
}
WINDOWS = {f"{category}-{seconds}" for category in ("order", "non-trading") for seconds in (1, 60, 3600)} | {
    "order-NSE-1"
}


@dataclass(frozen=True)
class Counting:
    """The store of permits: the settings that name it, and how it dies and comes back."""

    settings: dict[str, str]
    die: Callable[[], object]
    come_back: Callable[[], object]


@pytest.fixture
def _in_its_own_time() -> None:
    """Have more than the ninety seconds after which a test is held for stuck; pytest ends this with the test."""
    faulthandler.dump_traceback_later(200, exit=True, file=2)  # standard error


@pytest.fixture
def cluster(_in_its_own_time: None) -> Iterator[Postgres]:
    """Give a database of our own that forgets nothing."""
    with tempfile.TemporaryDirectory(prefix="pg-soak-") as folder:
        Path(folder).chmod(0o711)  # its server may run as somebody else
        with Postgres(Path(folder) / "pg", durable=True) as server:
            yield server


@pytest.fixture(params=["postgres", "valkey"])
def counting(request: pytest.FixtureRequest, cluster: Postgres, tmp_path: Path) -> Iterator[Counting]:
    if request.param == "postgres":
        yield Counting({}, lambda: cluster.__exit__(None, None, None), cluster.__enter__)
        return
    with Valkey(tmp_path / "valkey", is_kept=True) as server:
        yield Counting({"rate_limit_url": server.url}, server.kill, server.start)


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[SimulatedBroker]:
    """Give a broker of our own that keeps its limits, and knows everybody."""
    with simulated_broker(tmp_path, SIMULATOR_RATE_LIMITS="on") as broker:
        lengths = ("1", "60", "3600", "86400")
        broker.set_limits(
            table={category: dict(zip(lengths, limits, strict=True)) for category, limits in LIMITS.items()},
            ordersPerSecondPerExchange=AT_AN_EXCHANGE,
        )
        for user in USERS:
            broker.add_investor(user)
        yield broker


@dataclass(frozen=True)
class World:
    """Two replicas as processes, their database, and everybody's cookies."""

    replicas: list[Process]
    database_url: str
    cookies: dict[str, str]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, cluster: Postgres, counting: Counting, broker: SimulatedBroker, folder: Path
    ) -> AsyncIterator["World"]:
        url = await asyncio.to_thread(cluster.create_database, "partner")
        await asyncio.to_thread(migrate_schema, SecretStr(url))
        settings = configured(url, broker.url, PUBLIC, **SETTINGS, **counting.settings)
        async with AsyncExitStack() as stack:
            replicas = [
                await stack.enter_async_context(process(settings, folder / f"{number}.log")) for number in range(2)
            ]
            yield cls(replicas, url, await cookies_of_everybody(replicas, broker))


async def cookies_of_everybody(replicas: list[Process], broker: SimulatedBroker) -> dict[str, str]:
    """Sign everybody in, once: his tabs are windows of one browser."""
    found = {}
    async with Trader(replicas[0].service) as browser:
        for user in USERS:
            assert (await browser.sign_in(broker, user)).status_code == 303
            found[user] = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar)
            browser.cookies.clear()
    return found


async def let_the_store_die(counting: Counting, tally: Tally) -> None:
    """Take the store away, until a number of callers have noticed."""
    await asyncio.sleep(HALF_TIME)  # a moment to choose, nothing to wait for
    before = tally.by_status[503]

    async def is_noticed() -> bool:
        return tally.by_status[503] - before >= TOLD_AWAY

    await asyncio.to_thread(counting.die)
    try:
        await until(is_noticed, within=15)
    finally:
        await asyncio.to_thread(counting.come_back)


def report(broker: SimulatedBroker, tally: Tally) -> str:
    """Say what was received and what was served."""
    limits = broker.limits()
    reads = tally.answers["GET", 200]
    spared = 1 - limits["received"]["nonTrading"] / reads
    return "\n".join([
        "",
        f"calls received by the broker: {limits['received']}",
        f"over a limit: {limits['refusedTotal']}, {limits['refused']}",
        f"the most calls of one investor in a window: {limits['worst']}",
        f"requests served: {sum(tally.by_status.values())}, by status {dict(sorted(tally.by_status.items()))}",
        f"by method and status: {dict(sorted(tally.answers.items()))}",
        f"reads answered without a call: at least {spared:.1%} of {reads}, the oldest {tally.oldest} s old",
        f"problems and reasons: {dict(tally.words.most_common())}",
        f"full windows: {dict(tally.full.most_common())}",
        f"slowest answer: {tally.slowest:.2f} s",
    ])  # fmt: skip


def orders_are_consistent(requests: list[dict[str, Any]], intents: list[dict[str, Any]], taken: set[str]) -> None:
    """Hold what was sent against what was written: each order once, and as it is told."""
    sent = Counter(each["body"][0]["remarks"] for each in requests)
    placed = {each["correlation"]: each["state"] for each in intents if each["action"] == "PLACE"}
    assert max(sent.values()) == 1, f"sent twice: {sent.most_common(1)}"
    assert set(sent) <= set(placed)
    assert {each for each, state in placed.items() if state == "accepted"} <= taken
    assert not {each for each, state in placed.items() if state == "refused"} & taken


@pytest.mark.drill
async def test_fifty_investors_with_two_hundred_tabs_never_exceed_a_limit(
    counting: Counting, cluster: Postgres, strict_broker: SimulatedBroker, tmp_path: Path
) -> None:
    async with (
        World.open(cluster, counting, strict_broker, tmp_path) as world,
        Crowd.of([each.service.url for each in world.replicas], PUBLIC, world.cookies) as crowd,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(crowd.be_busy(LASTS))
            group.create_task(let_the_store_die(counting, crowd.tally))
        async with Store.open(world.database_url) as store:
            intents = await store.intents()
        written = "".join(each.written() for each in world.replicas)
    tally, told = crowd.tally, report(strict_broker, crowd.tally)
    print(told)  # noqa: T201  # it is what a soak is run for
    assert strict_broker.limits()["refusedTotal"] == 0, told
    assert set(tally.by_status) <= {200, 201, 202, 422, 429, 503}, told
    assert "internal_error" not in written
    assert set(tally.full) >= WINDOWS, told
    assert tally.oldest <= 62, told
    taken = {each["remarks"] for each in strict_broker.taken()}
    orders_are_consistent(strict_broker.received("place"), intents, taken)
