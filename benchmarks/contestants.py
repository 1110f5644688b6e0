"""The servers that are compared, each as a process on the measured core: ours as shipped, and its rivals."""

import asyncio
import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.fernet import Fernet

from benchmarks.cores import SERVER, on_core
from benchmarks.fetching import NODE_FOLDER, PYTHON_PACKAGES, ROOT
from benchmarks.investors import Seal, aes_gcm, fernet, sign_in, store_at_rival
from benchmarks.processes import pid_of
from benchmarks.stub_broker import StubBroker
from workbench.children import Child, ChildProblem, answers, free_port
from workbench.servers import Postgres

OURS, OURS_BEFORE, OBVIOUS = "ours", "ours, before", "obvious"
FASTIFY, FASTIFY_KEEPING = "fastify", "fastify, answers kept 1 s"

_SCHEMA = (Path(__file__).parent / "rivals" / "schema.sql").read_text("utf-8")
_ENOUGH = "/".join(["999999999"] * 4)  # calls that nobody makes in any of the windows, which are counted all the same
_PATIENCE = 400.0  # seconds until a server must be ready; under valgrind it takes minutes
_FRONTEND = "https://app.partner.co.in"


@dataclass(frozen=True)
class Contestant:
    """A running server, and what the browsers of its users send: those who read, and those who place orders."""

    name: str
    pid: int
    port: int
    cookies: Mapping[str, str]
    database_url: str

    def of(self, users: Sequence[str]) -> list[str]:
        """Return the cookies of these users."""
        return [self.cookies[each] for each in users]


@dataclass(frozen=True)
class Ground:
    """What all contestants stand on."""

    folder: Path
    postgres: Postgres
    broker: StubBroker
    valkey_url: str | None
    users: Sequence[str]
    watcher: Sequence[str] = ()
    """A program that runs each server, to look at what it does; it may take its time."""


def environment() -> dict[str, str]:
    """Return what every child needs and nothing else of ours: where programs are is no setting."""
    return {"PATH": os.environ["PATH"]}  # noqa: TID251  # no setting of the service


@contextmanager
def ours(
    ground: Ground, name: str = OURS, *, checkout: Path = ROOT, changed: Mapping[str, str] | None = None
) -> Iterator[Contestant]:
    """Run the service of a checkout as `partner serve` does in production, with a database of its own.

    `changed` are settings that are not as shipped.
    """
    database_url = ground.postgres.create_database(_plain(name))
    given = (
        production(database_url, ground.broker.url)
        | environment()
        | {"PYTHONPATH": str(checkout)}
        | dict(changed or {})
    )
    _migrate(given, ground.folder)
    port = free_port()
    argv = [sys.executable, "-m", "app", "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with _running(ground, name, argv, given, port) as pid:
        cookies = dict(zip(ground.users, sign_in(port, ground.broker, ground.users), strict=True))
        yield Contestant(name, pid, port, cookies, database_url)


def _migrate(given: Mapping[str, str], folder: Path) -> None:
    """Bring the database's schema up to date, with the migrations of the same checkout."""
    argv = [sys.executable, "-m", "app", "migrate"]
    done = subprocess.run(argv, env=dict(given), cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    if done.returncode:
        raise ChildProblem(f"The schema could not be made: {done.stderr.strip()[-600:]}")


def production(database_url: str, broker_url: str) -> dict[str, str]:
    """Return the settings of production for the stand-in broker, with limits that are counted and never reached."""
    return {
        "APP_ENV": "production",
        "DATABASE_URL": database_url,
        "PUBLIC_BASE_URL": "https://api.partner.co.in",
        "FRONTEND_ORIGINS": _FRONTEND,
        "DEFAULT_RETURN_URL": f"{_FRONTEND}/home",
        "BROKER_BASE_URL": broker_url,
        "BROKER_APP_CODE": "QX7PLM",
        "BROKER_API_SECRET": secrets.token_hex(8),
        "ENCRYPTION_KEYS": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "ALLOW_HTTP_BROKER_ON_LOOPBACK": "true",
        "RATE_LIMITS_USER": ",".join(f"{each}={_ENOUGH}" for each in ("order", "data", "non-trading")),
        "ORDERS_PER_SECOND_PER_EXCHANGE": "0",
        "SIGN_IN_LIMIT_PER_ADDRESS": "10000",
        "METRICS_PORT": str(free_port()),
    }


@contextmanager
def obvious(ground: Ground) -> Iterator[Contestant]:
    """Run the obvious FastAPI design, its windows in Valkey."""
    key, url = Fernet.generate_key().decode(), ground.postgres.create_database("obvious")
    cookies, port = _at_rival(ground, url, fernet(key)), free_port()
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.rivals.obvious:app", "--port", str(port)]
    given = environment() | {
        "PYTHONPATH": f"{ROOT}:{PYTHON_PACKAGES}",
        "DATABASE_URL": url.replace("postgresql://", "postgresql+asyncpg://"),
        "REDIS_URL": f"async+redis+{ground.valkey_url}",
        "BROKER_URL": ground.broker.url,
        "KEY": key,
    }
    with _running(ground, OBVIOUS, argv, given, port) as pid:
        yield Contestant(OBVIOUS, pid, port, cookies, url)


@contextmanager
def fastify(ground: Ground, name: str = FASTIFY, *, reuse_ms: int = 0) -> Iterator[Contestant]:
    """Run the Fastify design; with `reuse_ms` it shows a user's answer again for so long."""
    key, url = base64.b64encode(secrets.token_bytes(32)).decode(), ground.postgres.create_database(_plain(name))
    cookies, port = _at_rival(ground, url, aes_gcm(key)), free_port()
    argv = [shutil.which("node") or "node", str(NODE_FOLDER / "server.mjs"), str(port)]
    given = environment() | {
        "NODE_ENV": "production",
        "PORT": str(port),
        "PGHOST": parse_qs(urlsplit(url).query)["host"][0],
        "PGDATABASE": urlsplit(url).path[1:],
        "BROKER_URL": ground.broker.url,
        "KEY": key,
        "REUSE_MS": str(reuse_ms),
    }
    with _running(ground, name, argv, given, port) as pid:
        yield Contestant(name, pid, port, cookies, url)


def _at_rival(ground: Ground, url: str, seal: Seal) -> dict[str, str]:
    return dict(zip(ground.users, asyncio.run(store_at_rival(url, _SCHEMA, ground.users, seal)), strict=True))


@contextmanager
def _running(ground: Ground, name: str, argv: Sequence[str], given: Mapping[str, str], port: int) -> Iterator[int]:
    """Start a server on the measured core and give the id of its process."""
    log, ready = ground.folder / f"{_plain(name)}.log", answers(port, "/healthz")
    watched = [*ground.watcher, *argv]
    server = Child(name, watched, environment=given, log=log, is_ready=ready, patience=_PATIENCE)
    with on_core(SERVER):
        server.start()
    try:
        yield pid_of(*argv)
    finally:
        server.stop()


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
