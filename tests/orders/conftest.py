"""Two replicas on a database of their own; nobody else's reconciler looks there."""

from collections.abc import AsyncIterator

import pytest

from app.observability import configure_logging
from tests.conftest import create_clone, empty
from tests.support.replicas import Replicas, Trader, replicated, trading
from tests.support.simulated import SimulatedBroker


@pytest.fixture(scope="session")
async def orders_database(worker: str) -> str:
    return await create_clone(f"orders_{worker}")


@pytest.fixture(scope="session")
async def running_replicas(orders_database: str, simulator_process: SimulatedBroker) -> AsyncIterator[Replicas]:
    configure_logging(level="INFO", log_format="json")
    async with replicated(orders_database, simulator_process.url) as replicas:
        yield replicas


@pytest.fixture
async def replicas(
    running_replicas: Replicas, broker: SimulatedBroker, orders_database: str
) -> AsyncIterator[Replicas]:
    """Give both replicas with an empty database and a fresh broker."""
    yield running_replicas
    await empty(orders_database)


@pytest.fixture
async def asha(replicas: Replicas, broker: SimulatedBroker) -> AsyncIterator[Trader]:
    """Give an investor who has signed in at the first replica."""
    async with trading(replicas.first, broker) as trader:
        yield trader
