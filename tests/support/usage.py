"""What a running replica uses: memory, files, connections as Linux tells them, and tasks as it says itself."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.clock import monotonic
from tests.support.environment import ROOT
from tests.support.replicas import Store, until
from workbench.children import Child, answers

_ESTABLISHED = "01"


@dataclass(frozen=True)
class Usage:
    """One look at a replica."""

    seconds: float
    memory: float
    """In MiB, what of it is in memory."""
    files: int
    tasks: int
    clients: int
    broker: int
    database: int
    streams: int


class Watched:
    """A replica that is looked at."""

    def __init__(self, file: Path, port: int, broker_port: int) -> None:
        self._file, self._port, self._broker_port = file, port, broker_port
        self._began_at = monotonic()
        self._turn = 0
        self.looks: list[Usage] = []

    async def look(self, store: Store, streams: int) -> Usage:
        """Look once, and keep what is seen."""
        pid = self._told()["pid"]
        self._turn += 1
        os.kill(pid, signal.SIGUSR1)

        async def is_told() -> bool:
            return bool(self._told()["turn"] >= self._turn)

        await until(is_told)
        database = await store.rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        seen = Usage(
            monotonic() - self._began_at, _resident(pid), len(list(_targets(pid))),
            self._told()["tasks"], *_connections(pid, self._port, self._broker_port), database, streams,
        )  # fmt: skip
        self.looks.append(seen)
        return seen

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


def _connections(pid: int, port: int, broker_port: int) -> tuple[int, int]:
    """Return how many connections of callers it has, and how many to the broker."""
    rows = [line.split() for line in _lines(f"/proc/{pid}/net/tcp")[1:]]
    own = set(_targets(pid))
    ours = [each for each in rows if each[3] == _ESTABLISHED and f"socket:[{each[9]}]" in own]
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
    """Return the shipped command on a port, which says in `tasks.json` beside its log how many tasks it has."""
    words = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-m", "tests.support.counted", str(log.with_name("tasks.json")), *words]
    given = dict(environment) | {"PYTHONPATH": str(ROOT)}
    return Child("the replica", argv, environment=given, log=log, is_ready=answers(port, "/healthz"))


async def look_every(watched: Watched, store: Store, seconds: float, streams: Callable[[], int]) -> None:
    """Look for ever, every so many seconds."""
    while True:
        await watched.look(store, streams())
        await asyncio.sleep(seconds)
