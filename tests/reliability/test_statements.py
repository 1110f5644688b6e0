"""Bare connections: each answer to whoever asked, no wait longer than said, and none kept that is of no use."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from pydantic import SecretStr

from app import statements
from app.problems import TemporarilyUnavailable
from app.statements import Statements
from tests.conftest import create_clone
from tests.support.replicas import until
from workbench.servers import Postgres

WHO = "SELECT pg_backend_pid() AS pid"
SLOWLY = "SELECT pg_sleep($1::float8), $2::int AS mine"
MINE = "SELECT $1::int AS mine"


@pytest.fixture(scope="module")
async def bare_database(worker: str) -> str:
    return await create_clone(f"bare_{worker}")


@pytest.fixture
async def hand(bare_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(bare_database)
    yield connection
    await connection.close()


@pytest.fixture
async def losses() -> list[None]:
    return []


@pytest.fixture
async def two(bare_database: str, losses: list[None]) -> AsyncIterator[Statements]:
    opened = Statements.of(SecretStr(bare_database), most=2, patience=1.0, on_lost=lambda: losses.append(None))
    yield opened
    await opened.aclose()


async def test_many_ask_over_two_connections_and_each_has_his_own_answer(two: Statements) -> None:
    answers = await asyncio.gather(*(two.row(MINE, number) for number in range(300)))
    assert [each["mine"] for each in answers] == list(range(300))
    assert len({(await two.row(WHO))["pid"] for _ in range(10)}) == 1, "the one that was used last is used again"


async def test_one_that_the_server_has_ended_is_replaced(
    two: Statements, losses: list[None], hand: asyncpg.Connection
) -> None:
    first = (await two.row(WHO))["pid"]
    await hand.fetchval("SELECT pg_terminate_backend($1)", first)

    async def is_heard() -> bool:
        return len(losses) == 1

    await until(is_heard)
    assert (await two.row(WHO))["pid"] != first


async def test_who_leaves_takes_his_connection_with_him_and_nobody_gets_his_answer(two: Statements) -> None:
    asking = [asyncio.create_task(two.row(SLOWLY, 0.3, number)) for number in (1, 2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(two.row(MINE, 3))
    await asyncio.sleep(0.05)
    asking[0].cancel()
    assert (await waiting)["mine"] == 3
    assert (await asking[1])["mine"] == 2
    assert asking[0].cancelled()


async def test_no_wait_is_longer_than_patience(two: Statements) -> None:
    """For the answer, and for a connection that others have."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    asking = [asyncio.create_task(two.row(SLOWLY, 30.0, number)) for number in range(4)]
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in ends} == {TemporarilyUnavailable}
    assert loop.time() - began_at < 1.0 + 1.5
    assert (await two.row(MINE, 7))["mine"] == 7


async def test_one_that_is_used_while_all_are_closed_ends_with_its_statement(bare_database: str) -> None:
    opened = Statements.of(SecretStr(bare_database), most=1)
    await opened.row(WHO)
    asking = asyncio.create_task(opened.row(SLOWLY, 0.2, 5))
    await asyncio.sleep(0.05)
    await opened.aclose()
    assert (await asking)["mine"] == 5
    assert opened._free == []  # noqa: SLF001  # what nobody can see from outside


async def test_an_old_one_is_given_up_where_nobody_counts_its_end(
    bare_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_LONGEST_AGE", 0.2)
    looks = Statements.of(SecretStr(bare_database), most=1)
    counted = Statements.of(SecretStr(bare_database), most=1, on_lost=lambda: None)
    before = [(await each.row(WHO))["pid"] for each in (looks, counted)]
    await asyncio.sleep(0.3)
    after = [(await each.row(WHO))["pid"] for each in (looks, counted)]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)
    for each in (looks, counted):
        await each.aclose()


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="pg-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "pg"


@pytest.fixture
def cluster(folder: Path) -> Iterator[Postgres]:
    with Postgres(folder, durable=False) as server:
        yield server


def make_standby(cluster: Postgres, folder: Path) -> None:
    cluster.stop()
    signal = folder / "data" / "standby.signal"
    signal.touch()
    shutil.chown(signal, (folder / "data" / "PG_VERSION").owner())
    cluster.start()


async def test_a_standby_is_not_asked(cluster: Postgres, folder: Path) -> None:
    """What it says is of before, and nothing that is only read would ever tell."""
    looks = Statements.of(SecretStr(cluster.url()), most=1)
    assert await looks.row(WHO)
    await asyncio.to_thread(make_standby, cluster, folder)
    with pytest.raises(TemporarilyUnavailable):
        await looks.row(WHO)
    await looks.aclose()
