"""A database of the worker's, for what is tested below the service."""

from collections.abc import AsyncIterator

import pytest

from app.db import Database
from app.observability import configure_logging
from tests.conftest import empty
from tests.support.ledgers import opened


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    configure_logging(level="DEBUG", log_format="json")
    database = opened(database_url)
    yield database
    await database.aclose()
    await empty(database_url)
