"""The commands of `./run`; until the virtual environment stands, nothing but the standard library is used."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from workbench.environment import PYTHON, CannotInstall, ensure

ROOT = Path(__file__).parents[1]
BIN = PYTHON.parent
SOURCES = ["app", "simulator", "workbench", "benchmarks", "migrations", "tests"]
_NO_TESTS = 5  # pytest's exit code when nothing was selected

HELP = """./run COMMAND

  demo [--once] [--port N]   start everything with a simulated broker; --once takes the whole journey and ends
  test [pytest options]      the whole suite, against a real PostgreSQL and the simulator
  check                      what CI runs: format, lint, types, import rules, bill of materials, audit, tests
  fix                        put format and simple lint right
  serve [options]            run the backend alone, settings from the environment or .env
  migrate                    bring the database's schema up to date
  drill                      the slow soaks and drills
  bench [NAME] [options]     what a request costs, beside other designs; --brief for a look (benchmarks/README.md)
  coverage [pytest options]  the suite with the branches counted that it runs through
  lock                       write both lock files anew (needs uv)
  help                       this"""


def main() -> None:
    """Run one command and exit with its code."""
    name, *rest = sys.argv[1:] or ["help"]
    commands: dict[str, Callable[[list[str]], int]] = {
        "demo": lambda options: _module("workbench.demo", options),
        "test": _test,
        "check": lambda _options: _check(),
        "fix": lambda _options: _fix(),
        "serve": lambda options: _become([str(BIN / "partner"), "serve", *options]),
        "migrate": lambda options: _become([str(BIN / "partner"), "migrate", *options]),
        "drill": _drill,
        "bench": lambda options: _module("benchmarks", options),
        "coverage": _coverage,
        "lock": lambda _options: _lock(),
    }
    if name in {"help", "-h", "--help"}:
        print(HELP)
        return
    if name not in commands:
        _leave(f"./run has no command {name!r}; ./run help lists them.")
    os.chdir(ROOT)
    try:
        ensure()
    except CannotInstall as error:
        _leave(str(error))
    raise SystemExit(commands[name](rest))


def _test(options: list[str]) -> int:
    spread = [] if any(each.startswith("-n") for each in options) else ["-n", "2"]
    return _call("pytest", "-m", "not drill", *spread, *options)


def _drill(options: list[str]) -> int:
    code = _call("pytest", "-m", "drill", *options)
    if code == _NO_TESTS:
        print("There are no drills yet.")
        return 0
    return code


def _coverage(options: list[str]) -> int:
    """Measure how much of app/ the tests run through, branches counted; it takes them half as long again."""
    return _test(["--cov", "--cov-report=term", "--cov-fail-under=95", *options])


def _check() -> int:
    """Take every gate in turn and stop at the first that is closed; the tests' closing line comes last."""
    gates = [
        ["ruff", "format", "--check", *SOURCES],
        ["ruff", "check", *SOURCES],
        ["mypy"],
        ["lint-imports"],
        ["python", "-m", "workbench.materials"],
        ["python", "-m", "workbench.auditing"],
        ["pytest", "-m", "not drill", "-n", "2"],
    ]
    for gate in gates:
        print(f"== {' '.join(gate)}", flush=True)
        code = _call(*gate)
        if code:
            return code
    return 0


def _fix() -> int:
    return _call("ruff", "check", "--fix", *SOURCES) or _call("ruff", "format", *SOURCES)


def _lock() -> int:
    """Write the locks for every supported Python and platform, with hashes and without the name of any index."""
    uv = shutil.which("uv")
    if uv is None:
        _leave("./run lock needs uv: pip install uv")
    resolve = [
        uv, "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes", "--no-emit-index-url",
        "--no-header", "--no-annotate", "--python-version", "3.11", "--quiet", "--extra", "build",
        "--no-strip-extras",  # Debian's pip looks for the newest `coverage[toml]` where only `coverage` is pinned
    ]  # fmt: skip
    return (
        subprocess.call([*resolve, "-o", "requirements.lock"])
        or subprocess.call([*resolve, "--extra", "dev", "-c", "requirements.lock", "-o", "requirements-dev.lock"])
    )  # fmt: skip


def _call(tool: str, *options: str) -> int:
    return subprocess.call([str(BIN / tool), *options])


def _module(name: str, options: list[str]) -> int:
    return _become([str(PYTHON), "-m", name, *options])


def _become(argv: list[str]) -> NoReturn:
    os.execv(argv[0], argv)  # noqa: S606  # so that signals and the exit code are the command's own


def _leave(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(1)


main()
