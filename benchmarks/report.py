"""What was measured, for a person and for a file; of the machine only what the figures depend on."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.clock import Clock

_CPU = Path("/proc/cpuinfo")

Row = dict[str, Any]


def machine(packages: Iterable[str]) -> Row:
    """Return what ran the measurement: no name, no path, no address."""
    return {
        "measured_at": Clock().now().isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _cpu() -> str:
    lines = _CPU.read_text("utf-8").splitlines() if _CPU.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def show(rows: Sequence[Row]) -> None:
    """Print rows as a table, under the names of their values."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *rest = (each.ljust(width) if not place else each.rjust(width)
                        for place, (each, width) in enumerate(zip(line, widths, strict=True)))  # fmt: skip
        print("  ".join([first, *rest]))
    print()


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def write(path: Path, content: Row) -> None:
    """Write a measurement to be kept."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
