"""Which benchmark is run: `requests` unless another is named; each takes its own options.

python -m benchmarks [requests|permits|listeners] [options]
"""

import os
import sys
from typing import NoReturn

from benchmarks.fetching import PYTHON_PACKAGES, fetch_limits

_NAMES = ("requests", "permits", "listeners")


def main() -> None:
    """Run one benchmark."""
    name, options = _chosen(sys.argv[1:])
    if name not in _NAMES:
        print(f"There is no benchmark {name!r}; there are {', '.join(_NAMES)}.", file=sys.stderr)
        raise SystemExit(2)
    if name == "permits" and (lack := fetch_limits()):
        print(lack, file=sys.stderr)
        raise SystemExit(1)
    _become(name, options)


def _chosen(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the benchmark that is named first, if one is, and its options."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return _NAMES[0], arguments


def _become(name: str, options: list[str]) -> NoReturn:
    """Go on as that benchmark, which finds beside `.venv` what it compares with."""
    environment = os.environ | {"PYTHONPATH": str(PYTHON_PACKAGES)}  # noqa: TID251  # handed on, not read
    argv = [sys.executable, "-m", f"benchmarks.{name}", *options]
    os.execve(sys.executable, argv, environment)  # noqa: S606  # so that signals and the exit code are its own


main()
