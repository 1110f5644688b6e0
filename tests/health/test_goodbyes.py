"""A database that takes its leave: told as unavailable, also where the end of the connection has not come yet."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.db import Database
from app.problems import TemporarilyUnavailable
from app.safeguards.counting_postgres import PostgresPermits
from tests.conftest import create_clone
from tests.support.lines import Line, line_to_socket
from tests.support.permits import a_bucket
from tests.support.replicas import until


@pytest.fixture(scope="session")
async def leaving_database(worker: str) -> str:
    return await create_clone(f"goodbyes_{worker}")


@pytest.fixture
async def line(leaving_database: str, tmp_path: Path) -> AsyncIterator[Line]:
    [folder] = parse_qs(urlsplit(leaving_database).query)["host"]
    async with line_to_socket(Path(folder) / ".s.PGSQL.5432", tmp_path) as line:
        line.hides_ends = True
        yield line


@pytest.fixture
def url(leaving_database: str, line: Line, tmp_path: Path) -> SecretStr:
    return SecretStr(f"{leaving_database.partition('?')[0]}?host={tmp_path}")


async def say_goodbye(database_url: str, line: Line) -> None:
    """End the one connection, and return when its owner has been told in words, and not by its end."""
    rows = await asyncpg.connect(database_url)
    try:
        await rows.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        async def is_said() -> bool:
            return line.hidden == 1

        await until(is_said)
        line.hides_ends = False
        await rows.execute("SELECT 1")  # a turn of the loop, in which it hears of it
    finally:
        await rows.close()


async def test_the_engine_tells_a_goodbye_as_unavailable_and_goes_on(
    leaving_database: str, line: Line, url: SecretStr
) -> None:
    db = Database.open(url)
    try:
        async with db.reading() as tx:
            await tx.execute(text("SELECT 1"))
        await say_goodbye(leaving_database, line)
        with pytest.raises(TemporarilyUnavailable):
            async with db.reading() as tx:
                await tx.execute(text("SELECT 1"))
        async with db.transaction() as tx:
            assert await tx.scalar(text("SELECT 1")) == 1
    finally:
        await db.aclose()


async def test_the_store_of_permits_tells_a_goodbye_as_unavailable_and_goes_on(
    leaving_database: str, line: Line, url: SecretStr
) -> None:
    store = PostgresPermits.of(url)
    try:
        await store.look([a_bucket()])
        await say_goodbye(leaving_database, line)
        with pytest.raises(TemporarilyUnavailable):
            await store.look([a_bucket()])
        assert (await store.look([a_bucket()])).is_granted
    finally:
        await store.aclose()
