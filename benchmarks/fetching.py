"""What has to be there for a run, and how to get it: Debian's programs, and packages in a folder of our own."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".bench"
"""Beside `.venv`, never committed; what is compared with is installed here."""
PYTHON_PACKAGES = PLACE / "python"
NODE_FOLDER = PLACE / "fastify"
NODE_SOURCES = Path(__file__).parent / "rivals" / "fastify"

_OLDEST_NODE = 20
_PATIENCE = 300.0  # seconds for one installation


class Lack(NamedTuple):
    """Something that is not there: what it is, what can't be measured without it, and how to get it."""

    name: str
    purpose: str
    remedy: str

    @override
    def __str__(self) -> str:
        return f"{self.name} is missing: {self.purpose}; get it with `{self.remedy}`."


WRK = Lack("wrk", "nothing can be measured without the load generator", "apt-get install wrk")
NGINX = Lack("nginx", "nothing can be measured without the stand-in broker", "apt-get install nginx-light")
NODE = Lack("node", f"the Fastify design is left out (node {_OLDEST_NODE} or newer)", "apt-get install nodejs npm")
NPM = Lack("npm", "the Fastify design is left out", "apt-get install npm")
PERF = Lack("perf", "instructions are not counted", "apt-get install linux-perf")
VALGRIND = Lack("valgrind", "--count-instructions can't count", "apt-get install valgrind")


def lacking(wanted: Iterable[Lack], path: str | None = None) -> list[Lack]:
    """Return which programs are not on the path; none given is our own."""
    return [each for each in wanted if shutil.which(each.name, path=path) is None]


def fetch_limits() -> Lack | None:
    """Install the packages of the dependency group `bench` beside `.venv`, unless `limits` is there."""
    if str(PYTHON_PACKAGES) not in sys.path:
        sys.path.append(str(PYTHON_PACKAGES))
    if importlib.util.find_spec("limits") is not None:
        return None
    group: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["bench"]
    is_there = _is_done([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PYTHON_PACKAGES), *group])
    importlib.invalidate_caches()
    remedy = f"python3 -m pip install --target {PYTHON_PACKAGES.relative_to(ROOT)} {shlex.join(group)}"
    return None if is_there else Lack("limits", "the obvious design is left out", remedy)


def fetch_fastify() -> Lack | None:
    """Install what the Fastify design stands on, unless it is there; returns what is missing."""
    if absent := lacking([NODE, NPM]):
        return absent[0]
    if _node_version() < _OLDEST_NODE:
        return NODE
    NODE_FOLDER.mkdir(parents=True, exist_ok=True)
    fresh, installed = NODE_SOURCES / "package.json", NODE_FOLDER / "installed.json"
    if not installed.exists() or installed.read_bytes() != fresh.read_bytes():
        shutil.copy(fresh, NODE_FOLDER)
        npm = [shutil.which("npm") or "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        if not _is_done(npm, NODE_FOLDER):
            remedy = f"npm install --no-package-lock --prefix {NODE_FOLDER.relative_to(ROOT)}"
            return Lack("fastify", "the Fastify design is left out", remedy)
        shutil.copy(fresh, installed)
    shutil.copy(NODE_SOURCES / "server.mjs", NODE_FOLDER)
    return None


def _node_version() -> int:
    found = re.match(r"v(\d+)", program_version("node"))
    return int(found[1]) if found else 0


def program_version(name: str) -> str:
    """Return what a program says of its version, in one line; nothing where it is not there."""
    program = shutil.which(name)
    if program is None:
        return ""
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)  # noqa: S603  # looked up
    return next(iter((done.stdout + done.stderr).splitlines()), "")


def fastify_versions() -> dict[str, str]:
    """Return the versions that the Fastify design is pinned to."""
    pinned: dict[str, str] = json.loads((NODE_SOURCES / "package.json").read_text("utf-8"))["dependencies"]
    return pinned


def _is_done(argv: Sequence[str], folder: Path = ROOT) -> bool:
    try:
        return subprocess.run(argv, cwd=folder, check=False, timeout=_PATIENCE).returncode == 0  # noqa: S603  # ours
    except subprocess.TimeoutExpired:
        return False
