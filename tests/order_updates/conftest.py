"""Two replicas whose streams are short-lived and whose polls come soon, on a database of their own."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.observability import configure_logging
from tests.conftest import create_clone, empty
from tests.support.books import Books
from tests.support.ledgers import opened
from tests.support.replicas import Replicas, Trader, replicated, trading
from tests.support.simulated import SimulatedBroker


@pytest.fixture(scope="session")
async def updates_database(worker: str) -> str:
    return await create_clone(f"updates_{worker}")


@pytest.fixture(scope="session")
async def running_replicas(updates_database: str, simulator_process: SimulatedBroker) -> AsyncIterator[Replicas]:
    configure_logging(level="INFO", log_format="json")
    async with replicated(
        updates_database, simulator_process.url, bystanders=0, order_poll_interval="1", order_stream_heartbeat="1",
        order_webhooks=False,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
async def replicas(
    running_replicas: Replicas, broker: SimulatedBroker, updates_database: str
) -> AsyncIterator[Replicas]:
    """Give both replicas with an empty database and a fresh broker."""
    yield running_replicas
    await empty(updates_database)


@pytest.fixture
async def asha(replicas: Replicas, broker: SimulatedBroker) -> AsyncIterator[Trader]:
    """Give an investor who has signed in at the first replica."""
    async with trading(replicas.first, broker) as trader:
        yield trader


@pytest.fixture(scope="session")
async def recording_books(worker: str) -> AsyncIterator[Books]:
    url = await create_clone(f"recording_{worker}")
    first, second, rows = opened(url), opened(url), await asyncpg.connect(url)
    yield Books(first, second, rows)
    await rows.close()
    await first.aclose()
    await second.aclose()


@pytest.fixture
def books(recording_books: Books) -> Books:
    """Give the databases to a test that brings somebody new."""
    return recording_books
