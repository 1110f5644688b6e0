"""The migrations and the tables are the same schema, and every step can be taken back."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from pydantic import SecretStr

from app.clock import monotonic
from app.tables import SCHEMA_REVISION
from tests.conftest import create_clone
from tests.support.configured import configured
from tests.support.environment import environment, partner
from tests.support.investor import signed_in
from tests.support.migrations import breaking, statements_of
from tests.support.replicas import Store, locked, until
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def config(worker: str, request: pytest.FixtureRequest) -> Config:
    """Give Alembic an empty database of its own."""
    url = await create_clone(f"stairs_{worker}_{abs(hash(request.node.name))}", template=None)
    made = Config(attributes={"database_url": SecretStr(url)})
    made.set_main_option("script_location", "migrations")
    return made


async def test_up_down_and_up_again_for_each_revision(config: Config) -> None:
    revisions = list(ScriptDirectory.from_config(config).walk_revisions("base", "head"))[::-1]
    for each in revisions:
        await asyncio.to_thread(command.upgrade, config, each.revision)
        await asyncio.to_thread(command.downgrade, config, str(each.down_revision or "base"))
        await asyncio.to_thread(command.upgrade, config, each.revision)


async def test_models_and_migrations_agree(config: Config) -> None:
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)


def test_the_release_asks_for_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


async def test_two_replicas_migrate_at_once_and_both_end_well(worker: str) -> None:
    given = environment(await create_clone(f"race_{worker}", template=None), "http://127.0.0.1:1/")
    done = await asyncio.gather(*(asyncio.to_thread(partner, "migrate", environment=given) for _ in range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]


def revisions() -> list[Script]:
    config = Config()
    config.set_main_option("script_location", "migrations")
    return list(ScriptDirectory.from_config(config).walk_revisions("base", "head"))


@pytest.mark.parametrize("revision", revisions(), ids=lambda each: each.revision)
def test_the_release_before_works_on_what_a_revision_leaves(revision: Script) -> None:
    """Expand, then contract (docs/deploying.md).

    What takes something away is a `contract` and names the release, published by now, that needs none of it.
    """
    unused_since = getattr(revision.module, "contract", None)
    if unused_since is None:
        assert breaking(statements_of(revision)) == []
    else:
        published = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
        assert unused_since in published


@pytest.mark.parametrize("revision", revisions(), ids=lambda each: each.revision)
def test_no_revision_waits_long_for_a_table(revision: Script) -> None:
    assert statements_of(revision)[0] == "SET LOCAL lock_timeout = '5s'"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE users", "ALTER TABLE users DROP COLUMN name", "ALTER TABLE users RENAME name TO full_name",
        "ALTER TABLE users RENAME TO people", "ALTER TABLE users ALTER COLUMN name TYPE VARCHAR(10)",
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL", "ALTER TABLE users ADD COLUMN age INTEGER NOT NULL",
        "ALTER TABLE users ADD CONSTRAINT grown CHECK (age > 17)", "CREATE UNIQUE INDEX one ON users (name)",
        "DROP FUNCTION take_permit", "ALTER TABLE users DROP CONSTRAINT users_pkey", "REVOKE SELECT ON users FROM x",
    ],
)  # fmt: skip
def test_what_takes_something_away_is_seen(statement: str) -> None:
    assert len(breaking(["SET LOCAL lock_timeout = '5s'", statement])) == 1
    assert breaking(["CREATE TABLE users ( id TEXT )", statement]) == [] or "FUNCTION" in statement


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE users ADD COLUMN age INTEGER", "ALTER TABLE users ADD COLUMN age INTEGER DEFAULT '0' NOT NULL",
        "CREATE INDEX some ON users (name)", "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
    ],
)  # fmt: skip
def test_what_only_adds_passes(statement: str) -> None:
    assert breaking([statement]) == []


async def test_a_release_serves_on_the_schema_of_the_next_one(worker: str, broker: SimulatedBroker) -> None:
    url = await create_clone(f"ahead_{worker}")
    await _told(url, "UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE users ADD COLUMN next_one TEXT")
    async with serving(configured(url, f"{broker.url}/")) as service:
        broker.return_to(f"{service.url}/sso/callback")
        async with signed_in(service, broker) as browser:
            assert (await browser.get("/readyz")).status_code == 200
            assert (await browser.get("/v1/funds")).status_code == 200


async def _told(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def behind(config: Config) -> str:
    """Return a database that is one revision behind."""
    await asyncio.to_thread(command.upgrade, config, "0004")
    url: str = config.attributes["database_url"].get_secret_value()
    return url


async def test_a_migration_gives_up_soon_where_somebody_holds_a_table(behind: str) -> None:
    given = environment(behind, "http://127.0.0.1:1/")
    async with locked(behind, "users", "ACCESS SHARE"):  # a report that runs for hours
        migrating = asyncio.create_task(asyncio.to_thread(partner, "migrate", environment=given))
        await _waits_for_a_table(behind)
        began_at = monotonic()
        async with Store.open(behind) as store:
            assert await store.rows.fetchval("SELECT count(*) FROM users") == 0  # who reads waits behind the migration
        assert monotonic() - began_at < 7
        done = await migrating
    assert done.returncode == 1
    assert done.stderr.startswith("Somebody holds a table that has to be changed")
    assert await _revision(behind) == "0004"


async def test_a_migration_that_is_killed_has_done_nothing_and_the_next_one_does_all(behind: str) -> None:
    given = environment(behind, "http://127.0.0.1:1/")
    argv = [sys.executable, "-m", "app", "migrate"]
    async with locked(behind, "users", "ACCESS SHARE"):
        env = given | {"PYTHONPATH": str(ROOT)}
        with await asyncio.to_thread(subprocess.Popen, argv, env=env, cwd=ROOT / "tests") as first:
            await _waits_for_a_table(behind)  # in the middle: its other tables have been made by now
            first.kill()
    assert await _revision(behind) == "0004"
    done = await asyncio.gather(*(asyncio.to_thread(partner, "migrate", environment=given) for _ in range(3)))
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    assert await _revision(behind) == SCHEMA_REVISION


async def _revision(url: str) -> str:
    async with Store.open(url) as store:
        return str(await store.rows.fetchval("SELECT version_num FROM alembic_version"))


async def _waits_for_a_table(url: str) -> None:
    async with Store.open(url) as store:

        async def is_waiting() -> bool:
            return bool(await store.rows.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ))  # fmt: skip

        await until(is_waiting, within=20)
