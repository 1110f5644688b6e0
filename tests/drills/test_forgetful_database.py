"""A database that crashes takes the newest permits with it, for which no commit waited: no limit is exceeded by that.

Two replicas of the real command with production settings behind the shipped nginx, everything on loopback.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.clock import monotonic
from app.safeguards.counting import FORGETFUL
from tests.support.fleet import Fleet, fleet
from tests.support.honest import Answer, Diary, Investor, browsers, sign_in
from tests.support.proofs import worst_windows

USER = "DRILL02"
MINUTE = 60
SETTINGS = {
    "RATE_LIMITS_USER": f"order=-/-/-/1000,non-trading=-/{MINUTE}/-/1000", "CANCEL_RESERVE": "0",
    "READ_REUSE_SECONDS": "0",
}  # fmt: skip
CARDS = ("orders", "funds", "holdings", "positions", "trades", "profile")
NEARLY_ALL = 8  # rounds of all cards: what is left of the minute is less than one more
KEY = "user:DRILL02:non-trading"

pytestmark = pytest.mark.drill


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Give a deployment whose database writes so late that a crash is certain to take something with it."""
    async with fleet(tmp_path, SETTINGS, with_valkey=False) as deployed:
        deployed.broker.set_limits(table={"nonTrading": {"1": 1000, str(MINUTE): MINUTE, "3600": 1000, "86400": 1000}})
        deployed.broker.add_investor(USER)
        connection = await asyncpg.connect(deployed.database_url)
        await connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        yield deployed


async def _stored(fleet: Fleet) -> int:
    connection = await asyncpg.connect(fleet.database_url)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM rate_permits WHERE key = $1", KEY)
    finally:
        await connection.close()
    return count


async def _read_all(investor: Investor) -> list[Answer]:
    return await asyncio.gather(*(investor.read(card, afresh=True) for card in CARDS))


async def test_what_a_crashed_database_forgets_is_counted_once_more(deployment: Fleet) -> None:
    broker = deployment.broker
    async with browsers() as client:
        cookie = await sign_in(client, deployment.url, broker, USER)
        investor = Investor(client, deployment.url, USER, cookie, Diary())
        await asyncio.sleep(FORGETFUL)  # what the sign-in has used is to be on the disk, as it would be by then
        began_at = monotonic()
        for _ in range(NEARLY_ALL):
            assert {each.status for each in await _read_all(investor)} == {200}
        took = monotonic() - began_at
        await asyncio.to_thread(deployment.cluster.kill)
        before = len([each for each in broker.received() if each["call"] != "exchange"])
        await asyncio.to_thread(deployment.cluster.start)
        stored = await _stored(deployment)
        statuses = [each.status for _ in range(30) for each in await _read_all(investor)]
    after = len([each for each in broker.received() if each["call"] != "exchange"])
    worst = worst_windows(broker.received(), [MINUTE])["nonTrading", MINUTE]
    print(  # noqa: T201  # it is what a drill is run for
        f"\n{before} calls in {took:.2f} s, then a crash; {stored} of them were still stored, {after - before} "
        f"more got through; the most in a minute: {worst} of {MINUTE}; told {sorted(set(statuses))}"
    )
    assert took < FORGETFUL
    assert stored <= before - len(CARDS)
    assert broker.limits()["refusedTotal"] == 0
    assert worst <= MINUTE
    assert 429 in statuses
