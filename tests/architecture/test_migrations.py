"""The migrations and the tables are the same schema, and every step can be taken back."""

import asyncio

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from app.tables import SCHEMA_REVISION
from tests.conftest import create_clone
from tests.support.environment import environment, partner


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
