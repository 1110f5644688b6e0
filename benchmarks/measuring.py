"""Slices of load in interleaved rounds, so that a busy minute of the machine meets every server."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import Ask, LoadProblem, Slice, put
from benchmarks.processes import cpu_seconds
from benchmarks.report import Row

_WARM_SECONDS = 2.0


@dataclass(frozen=True)
class Cell:
    """One server under one load; `before` is done ahead of each slice and not measured."""

    server: str
    what: str
    clients: int
    port: int
    pid: int | None
    ask: Ask
    before: Callable[[], None] | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the others."""
        return self.server, self.what, self.clients


class Found(NamedTuple):
    """A slice, and what CPU the server took for each request, in ms, the kernel's part of it included."""

    load: Slice
    cpu_ms: float | None


Measured = dict[tuple[str, str, int], list[Found]]


def measure(
    cells: Sequence[Cell],
    *,
    rounds: int,
    seconds: float,
    folder: Path,
    tell: Callable[[str], None],
    is_warm: bool = False,
) -> Measured:
    """Return the slices of every cell; raises `LoadProblem`.

    Unless it `is_warm`, each server is asked for each thing for a moment before anything counts: connections, code and
    caches are there then.
    """
    for cell in {} if is_warm else {(each.server, each.what): each for each in cells}.values():
        try:
            _slice(cell, _WARM_SECONDS, folder)
        except LoadProblem as problem:  # a cold server may take longer; what counts comes later
            tell(f"while warming up: {problem}")
    found: Measured = {}
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for cell in cells:
            found.setdefault(cell.key, []).append(_slice(cell, seconds, folder))
    return found


def _slice(cell: Cell, seconds: float, folder: Path) -> Found:
    if cell.before:
        cell.before()
    used = cpu_seconds(cell.pid) if cell.pid else 0.0
    load = put(cell.ask, cell.port, clients=cell.clients, seconds=seconds, folder=folder)
    cpu_ms = (cpu_seconds(cell.pid) - used) / load.requests * 1000 if cell.pid else None
    return Found(load, cpu_ms)


def rows(measured: Measured) -> list[Row]:
    """Return one row for each cell: the best and the median rate of its rounds, medians of all else."""
    return [_row(*key, found) for key, found in measured.items()]


def _row(server: str, what: str, clients: int, found: Sequence[Found]) -> Row:
    loads = [each.load for each in found]
    p50, p99 = _median(each.p50_ms for each in loads), _median(each.p99_ms for each in loads)
    used = [each.cpu_ms for each in found if each.cpu_ms is not None]
    return {
        "what": what,
        "server": server,
        "clients": clients,
        "per_second": round(_median(each.rate for each in loads)),
        "best": round(max(each.rate for each in loads)),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "p99/p50": round(p99 / p50, 2),
        "cpu_ms": round(_median(used), 3) if used else None,
        "requests": sum(each.requests for each in loads),
    }


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def find(rows: Iterable[Mapping[str, object]], server: str, what: str, clients: int) -> Row | None:
    """Return the row of a cell, none where it was not measured."""
    wanted = server, what, clients
    return next((dict(row) for row in rows if (row["server"], row["what"], row["clients"]) == wanted), None)
