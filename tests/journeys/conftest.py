"""A database that commands are typed at, and the settings that they find."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db import Database
from tests.conftest import empty
from tests.support.environment import environment
from tests.support.ledgers import opened

NOWHERE = "http://127.0.0.1:1/"  # of a broker whom no command asks


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = opened(database_url)
    yield database
    await database.aclose()
    await empty(database_url)


@pytest.fixture
def given(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours
    return environment(database_url, NOWHERE)
