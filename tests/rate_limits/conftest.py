"""Two replicas that count their calls together, in Postgres or in Valkey; each test says by which limits."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from app.observability import configure_logging
from tests.conftest import create_clone, empty
from tests.support.replicas import Replicas, replicated
from tests.support.simulated import SimulatedBroker

Limited = Callable[..., AbstractAsyncContextManager[Replicas]]


@pytest.fixture(scope="session")
async def limits_database(worker: str) -> str:
    return await create_clone(f"limits_{worker}")


@pytest.fixture(params=["postgres", "valkey"])
async def store(request: pytest.FixtureRequest, valkey_url: str, limits_database: str) -> AsyncIterator[dict[str, Any]]:
    """Give the setting that names the store; what was counted is forgotten afterwards."""
    yield {"rate_limit_url": valkey_url} if request.param == "valkey" else {}
    async with Redis.from_url(valkey_url) as valkey:
        await valkey.flushdb()
    await empty(limits_database)


@pytest.fixture
def limited(limits_database: str, broker: SimulatedBroker, store: dict[str, Any]) -> Limited:
    """Give a way to run two replicas by the settings that a test names.

    The guard is long, so that no permit grows old on a busy machine, which would be counted twice; where a window is of
    a second, a test names its own.
    """
    configure_logging(level="INFO", log_format="json")

    @asynccontextmanager
    async def run(**changed: Any) -> AsyncIterator[Replicas]:
        async with replicated(
            limits_database, broker.url, bystanders=0, **{"rate_limit_guard": "10"} | store | changed
        ) as replicas:
            yield replicas

    return run
