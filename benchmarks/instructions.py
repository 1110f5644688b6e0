"""How many instructions a request takes: where the kernel counts them, all; else in user space alone, by valgrind.

valgrind runs a server fifty times slower, with one client; what is counted is the same from run to run.
"""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks import contestants as c
from benchmarks.load import Ask, LoadProblem, put
from benchmarks.measuring import Cell
from benchmarks.report import Row

_SECONDS = 4.0  # that the kernel counts for
_WARM = {c.OURS: 40, c.FASTIFY: 1500, c.FASTIFY_KEEPING: 1500}
"""Requests under valgrind ahead of all: of the same kind, until the code is as fast as it gets."""
_FEW, _MORE = 20, 60  # requests in the two counts that are compared
_IDLE_SECONDS = 6.0
_PATIENCE = 120.0  # seconds for one of them, and for one dump
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def does_kernel_count() -> bool:
    """Say whether `perf` can count instructions here; in many virtual machines it can't."""
    perf = shutil.which("perf")
    if perf is None:
        return False
    argv = [perf, "stat", "-x,", "-e", "instructions", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603  # looked up
    return counted(done.stderr) is not None


def counted(said: str) -> int | None:
    """Return the instructions in what `perf stat -x,` says, none where it could not count."""
    found = [line.split(",")[0] for line in said.splitlines() if ",instructions" in line]
    return int(found[0]) if found and found[0].isdigit() else None


def by_kernel(cell: Cell, folder: Path) -> Row:
    """Count what a server does under a load, the kernel's part included; raises `LoadProblem`."""
    said = folder / "perf"
    argv = [shutil.which("perf") or "perf", "stat", "-x,", "-e", "instructions", "-p", str(cell.pid), "-o", str(said)]
    with subprocess.Popen(argv) as perf:  # noqa: S603  # looked up
        load = put(cell.ask, cell.port, clients=cell.clients, seconds=_SECONDS, folder=folder)
        perf.send_signal(signal.SIGINT)
    total = counted(said.read_text("utf-8"))
    if total is None:
        raise LoadProblem("perf has stopped counting instructions.")
    return _row(cell.server, cell.what, total / load.requests, "user and kernel")


def by_valgrind(ground: c.Ground, name: str, asks: Mapping[str, Ask], user: str) -> list[Row]:
    """Count what one server does for requests of some kinds, one after another; raises `LoadProblem`.

    What it does anyway, second after second, is taken off: at this speed many seconds pass for few requests.
    """
    out = ground.folder / f"callgrind-{len(list(ground.folder.glob('callgrind-*')))}"
    watcher = ["valgrind", "--tool=callgrind", "--smc-check=all-non-file", f"--callgrind-out-file={out}"]
    with _server(name, replace(ground, users=[user], watcher=watcher)) as contestant:
        found = []
        for what, ask in asks.items():
            _ask(contestant, ask, user, _WARM[name])
            few, more = (_count(contestant, out, partial(_ask, contestant, ask, user, each)) for each in (_FEW, _MORE))
            idle = _count(contestant, out, partial(time.sleep, _IDLE_SECONDS))
            anyway = idle.instructions / idle.seconds * (more.seconds - few.seconds)
            each = (more.instructions - few.instructions - anyway) / (_MORE - _FEW)
            found.append(_row(name, what, each, "user, valgrind"))
        return found


def _server(name: str, ground: c.Ground) -> AbstractContextManager[c.Contestant]:
    """Start a server that shows an answer again for a minute: nothing is asked twice in a second here."""
    watched = f"{name}, under valgrind"
    if name == c.OURS:
        return c.ours(ground, watched, changed={"READ_REUSE_SECONDS": "60"})
    return c.fastify(ground, watched, reuse_ms=60_000 if name == c.FASTIFY_KEEPING else 0)


def _ask(contestant: c.Contestant, ask: Ask, user: str, count: int) -> None:
    headers = {"Cookie": contestant.cookies[user], **ask.headers}
    base_url = f"http://127.0.0.1:{contestant.port}"
    with httpx.Client(base_url=base_url, trust_env=False, timeout=_PATIENCE, headers=headers) as client:
        for _ in range(count):
            client.get(ask.path).raise_for_status()


class _Counted(NamedTuple):
    instructions: int
    seconds: float


def _count(contestant: c.Contestant, out: Path, act: Callable[[], None]) -> _Counted:
    """Return what a server does while something is done with it."""
    before, begun_at = set(out.parent.glob(f"{out.name}.*")), time.monotonic()
    _control("-z", contestant.pid)
    act()
    _control("-d", contestant.pid)
    seconds = time.monotonic() - begun_at
    while time.monotonic() - begun_at < seconds + _PATIENCE:
        for dump in set(out.parent.glob(f"{out.name}.*")) - before:
            if total := _TOTAL.search(dump.read_text("utf-8", "replace")):
                return _Counted(int(total[1]), seconds)
        time.sleep(0.05)
    raise LoadProblem("valgrind wrote no count.")


def _control(option: str, pid: int) -> None:
    argv: Sequence[str] = ["callgrind_control", option, str(pid)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_PATIENCE)  # noqa: S603  # ours
    if done.returncode or "Error" in done.stdout:
        raise LoadProblem(f"valgrind does not listen: {(done.stdout + done.stderr).strip()}")


def _row(server: str, what: str, each: float, counted_by: str) -> Row:
    return {"what": what, "server": server, "instructions": round(each), "counted": counted_by}
