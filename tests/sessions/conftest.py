"""Two replicas on a database of their own, with nobody beside them whose reconciler would look."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import create_clone, empty
from tests.support.replicas import Replicas, replicated
from tests.support.simulated import SimulatedBroker


@pytest.fixture(scope="session")
async def sessions_database(worker: str) -> str:
    return await create_clone(f"sessions_{worker}")


@pytest.fixture(scope="session")
async def running_replicas(sessions_database: str, simulator_process: SimulatedBroker) -> AsyncIterator[Replicas]:
    async with replicated(sessions_database, simulator_process.url, bystanders=0) as running:
        yield running


@pytest.fixture
async def replicas(
    running_replicas: Replicas, broker: SimulatedBroker, sessions_database: str
) -> AsyncIterator[Replicas]:
    """Give both replicas with an empty database and a fresh broker."""
    yield running_replicas
    await empty(sessions_database)
