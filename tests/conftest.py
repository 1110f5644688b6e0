"""Real servers for every test: one PostgreSQL and one Valkey for the run, databases and a broker per worker."""

import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from app.observability import configure_logging
from app.schema import migrate_schema
from app.settings import Settings
from tests.support.clock import SettableClock
from tests.support.configured import configured
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker, simulated_broker
from workbench.servers import Postgres
from workbench.valkey import Valkey

_URL = "TEST_POSTGRES_URL"  # from the controller to its workers
_VALKEY_URL = "TEST_VALKEY_URL"  # the same
_TEMPLATE = "migrated"
_TABLES = (
    "spent_auth_codes, sessions, broker_sessions, seen_orders, watches, intents, ledger, ledger_heads, halts, blocks, "
    "caps, order_events, book_looks, webhooks, users, rate_heads, rate_permits"
)
_ATTEMPTS = 5
_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

_servers = ExitStack()

hypothesis_settings.register_profile("here", deadline=None)  # two busy cores: time says nothing about an example
hypothesis_settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Start the one PostgreSQL, with a migrated template to clone, and the one Valkey before any worker begins."""
    for name in _PROXIES:
        os.environ.pop(name, None)  # noqa: TID251  # every server of the tests is on this machine
    _trust_nobody()
    logging.getLogger("httpcore").setLevel(logging.INFO)  # what a test's own client does costs more told than done
    if hasattr(config, "workerinput"):
        return
    shared_memory = Path("/dev/shm")  # noqa: S108  # nothing is kept there
    parent = shared_memory if shared_memory.is_dir() and os.access(shared_memory, os.W_OK) else None
    folder = Path(_servers.enter_context(tempfile.TemporaryDirectory(prefix="pgtest-", dir=parent)))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    postgres = _servers.enter_context(Postgres(folder / "pg", durable=False))
    migrate_schema(SecretStr(postgres.create_database(_TEMPLATE)))
    os.environ[_URL] = postgres.url("NAME")  # noqa: TID251  # the way from the controller to its workers
    valkey = _servers.enter_context(Valkey(folder / "valkey", is_kept=False))
    os.environ[_VALKEY_URL] = valkey.url  # noqa: TID251  # the same


def _trust_nobody() -> None:
    """Spare each client of a test the reading of 140 authorities, a tenth of a second; who needs one names it."""
    os.environ.pop("SSL_CERT_FILE", None)  # noqa: TID251  # httpx reads it first
    os.environ["SSL_CERT_DIR"] = tempfile.gettempdir()  # noqa: TID251  # there is none


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop them when the last worker has ended."""
    if not hasattr(config, "workerinput"):
        _servers.close()


def postgres_url(name: str) -> str:
    """Return the URL of one database of the run's cluster."""
    return os.environ[_URL].replace("NAME", name)  # noqa: TID251  # the same


async def create_clone(name: str, template: str | None = _TEMPLATE) -> str:
    """Create a database, migrated unless `template` is none, and return its URL."""
    connection = await asyncpg.connect(postgres_url("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    finally:
        await connection.close()
    return postgres_url(name)


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """Name this worker."""
    name: str = getattr(request.config, "workerinput", {"workerid": "alone"})["workerid"]
    return name


@pytest.fixture(scope="session")
async def database_url(worker: str) -> str:
    return await create_clone(f"tests_{worker}")


@pytest.fixture(scope="session")
def valkey_url(worker: str) -> str:
    """Give this worker's database of the run's Valkey; nothing in it outlives the run."""
    number = 0 if worker == "alone" else int(worker.removeprefix("gw"))
    return f"{os.environ[_VALKEY_URL]}?db={number}"  # noqa: TID251  # from the controller


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBroker]:
    with simulated_broker(tmp_path_factory.mktemp("simulator")) as broker:
        yield broker


@pytest.fixture
def broker(simulator_process: SimulatedBroker) -> SimulatedBroker:
    """Give the simulated broker, back at its seed."""
    simulator_process.reset()
    return simulator_process


@pytest.fixture(scope="session")
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture(scope="session")
async def shared_service(
    database_url: str, simulator_process: SimulatedBroker, clock: SettableClock
) -> AsyncIterator[Service]:
    configure_logging(level="DEBUG", log_format="json")
    settings = configured(database_url, simulator_process.url)
    async with serving(settings, clock) as service:
        yield service


@pytest.fixture
async def service(
    shared_service: Service, broker: SimulatedBroker, clock: SettableClock, database_url: str
) -> AsyncIterator[Service]:
    """Give the running backend with an empty database, a fresh broker and the right time."""
    clock.reset()
    broker.return_to(f"{shared_service.url}/sso/callback")
    yield shared_service
    await empty(database_url)


async def empty(database_url: str) -> None:
    """Delete every row that a test has left; a reconciler that is just looking may have to be waited for."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")  # the ledger refuses otherwise
        for attempt in range(_ATTEMPTS):
            try:
                await connection.execute(f"TRUNCATE {_TABLES}")
                break
            except asyncpg.DeadlockDetectedError:
                if attempt == _ATTEMPTS - 1:
                    raise
    finally:
        await connection.close()


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of its own to look at what was written."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def settings(shared_service: Service) -> Settings:
    return shared_service.settings


@pytest.fixture(autouse=True)
def _no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a developer has set for himself out of the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def emptied(database_url: str) -> AsyncIterator[None]:
    """Leave nothing behind of what a test writes by hand."""
    yield
    await empty(database_url)
