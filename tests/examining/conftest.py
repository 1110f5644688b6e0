"""What the doctor says of a database, a store and a broker of these tests."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import create_clone
from tests.support.commands import typed
from tests.support.environment import environment
from tests.support.ledgers import grants
from tests.support.simulated import SimulatedBroker

Doctor = Callable[..., Awaitable[dict[str, tuple[str, str]]]]


@pytest.fixture
async def clone(worker: str, request: pytest.FixtureRequest) -> str:
    """Give a migrated database of the test's own."""
    return await create_clone(f"doctor_{worker}_{abs(hash(request.node.name))}")


@pytest.fixture
async def hand(clone: str) -> AsyncIterator[asyncpg.Connection]:
    """Give an operator's hand in that database."""
    connection = await asyncpg.connect(clone)
    yield connection
    await connection.close()


@pytest.fixture
async def running_role(clone: str, hand: asyncpg.Connection, worker: str) -> str:
    """Return the URL by which the service has the database: as the role of docs/operations.md."""
    name = f"doctor_app_{worker}"
    if not await hand.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name):
        await hand.execute(f"CREATE ROLE {name} LOGIN")
    await hand.execute(grants().replace("partner_app", name))
    return clone.replace("postgres@", f"{name}@")


@pytest.fixture
def doctor(clone: str, broker: SimulatedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Give a doctor: called with settings that are other than usual, it returns level and sentence of each check."""
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours

    async def examine(*options: str, **changed: str) -> dict[str, tuple[str, str]]:
        given = environment(clone, f"{broker.url}/") | changed
        done = await typed("doctor", "--json", *options, given=given)
        said = json.loads(done.stdout)
        found = {each["check"]: (each["level"], each["sentence"]) for each in said["findings"]}
        has_failed = any(level == "failed" for level, _ in found.values())
        assert (done.exit_code, said["ok"]) == (int(has_failed), not has_failed), done.output
        return found

    return examine
