"""What a running replica uses: memory, files, connections as Linux tells them; tasks and pieces as it says."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.clock import monotonic
from tests.support.environment import ROOT
from tests.support.replicas import Store, until
from workbench.children import Child, answers

_LISTENS = "0A"
_PATIENCE = 30.0  # seconds; it answers between two requests, and the machine may have other work


@dataclass(frozen=True)
class Usage:
    """One look at a replica."""

    seconds: float
    memory: float
    """In MiB, what of it is in memory."""
    pieces: int
    """How many pieces of memory Python has given out, and nobody has given back."""
    large: float
    """In MiB, the same of the C library: Python's pieces of more than 512 bytes, and those of extensions."""
    files: int
    tasks: int
    clients: int
    broker: int
    database: int
    streams: int

    @property
    def other_files(self) -> int:
        """How many open files are no connection: what it listens on, its log, and what should not be there."""
        return self.files - self.clients - self.broker - self.database


class Watched:
    """A replica that is looked at."""

    def __init__(self, file: Path, port: int, broker_port: int) -> None:
        self._file, self._port, self._broker_port = file, port, broker_port
        self._began_at = monotonic()
        self._looking = asyncio.Lock()
        self.looks: list[Usage] = []

    @property
    def seconds(self) -> float:
        """For how long it has been watched."""
        return monotonic() - self._began_at

    async def look(self, store: Store, streams: int, *, tidied: bool = False) -> Usage:
        """Look once, and keep what is seen; `tidied` is without what only a collection of garbage would give back."""
        async with self._looking:  # two signals at the same time may arrive as one
            told = await self._asked("tidied" if tidied else "looked")
            pid = told["pid"]
            seen = await self._seen(pid, told, store, streams)
        self.looks.append(seen)
        return seen

    async def _asked(self, what: str) -> dict[str, Any]:
        before = self._told()
        os.kill(before["pid"], signal.SIGUSR2 if what == "tidied" else signal.SIGUSR1)

        async def is_told() -> dict[str, Any] | None:
            told = self._told()
            return told if told[what] > before[what] else None

        return await until(is_told, within=_PATIENCE)

    async def _seen(self, pid: int, told: dict[str, Any], store: Store, streams: int) -> Usage:
        database = await store.rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        own = list(_targets(pid))
        clients, broker = _connections(pid, own, self._port, self._broker_port)
        return Usage(
            self.seconds, _resident(pid), told["pieces"], told["large"] / 2**20, len(own), told["tasks"], clients,
            broker, database, streams,
        )  # fmt: skip

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._file.read_text("utf-8"))
        return told

    def between(self, begin: float, end: float) -> Usage:
        """Return what was usual between two moments: the median of each."""
        return usual([each for each in self.looks if begin <= each.seconds <= end])


def usual(looks: Sequence[Usage]) -> Usage:
    """Return the median of each number."""
    names = asdict(looks[0])
    return Usage(**{name: median(getattr(each, name) for each in looks) for name in names})


def _resident(pid: int) -> float:
    [line] = [each for each in _lines(f"/proc/{pid}/status") if each.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _connections(pid: int, own: Collection[str], port: int, broker_port: int) -> tuple[int, int]:
    """Return how many connections of callers it has, and how many to the broker; also those that one side has left."""
    rows = [line.split() for line in _lines(f"/proc/{pid}/net/tcp")[1:]]
    ours = [each for each in rows if each[3] != _LISTENS and f"socket:[{each[9]}]" in own]
    return (
        sum(int(each[1].rpartition(":")[2], 16) == port for each in ours),
        sum(int(each[2].rpartition(":")[2], 16) == broker_port for each in ours),
    )


def _targets(pid: int) -> Iterator[str]:
    """Yield what each open file is; what is closed meanwhile is left out."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(each.readlink())


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines()


def counted_backend(port: int, *, environment: Mapping[str, str], log: Path) -> Child:
    """Return the shipped command on a port, which writes its own figures to `tasks.json` beside its log."""
    words = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-m", "tests.support.counted", str(log.with_name("tasks.json")), *words]
    given = dict(environment) | {"PYTHONPATH": str(ROOT)}
    return Child("the replica", argv, environment=given, log=log, is_ready=answers(port, "/healthz"))


async def look_every(watched: Watched, store: Store, seconds: float, streams: Callable[[], int]) -> None:
    """Look for ever, every so many seconds."""
    while True:
        await watched.look(store, streams())
        await asyncio.sleep(seconds)
