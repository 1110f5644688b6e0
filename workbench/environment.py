"""The virtual environment: made from the lock file on the first run, found again on every later one."""

import errno
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"

_LOCK_FILE = ROOT / "requirements-dev.lock"
_STAMP = ENVIRONMENT / ".made-from"


class CannotInstall(Exception):  # told to a person
    """What is missing, in one sentence."""


def ensure() -> None:
    """See to it that `.venv` holds what the lock file says and the package itself; raises `CannotInstall`."""
    if _is_current():
        return
    with _alone():
        if _is_current():  # somebody else made it while we waited
            return
        print("Making .venv from requirements-dev.lock; this takes a minute, once.", flush=True)
        try:
            _make()
        except OSError as error:
            raise CannotInstall(_told(error)) from error


def _make() -> None:
    if ENVIRONMENT.is_symlink():  # whatever it leads to is somebody else's
        raise CannotInstall(f"{ENVIRONMENT.name} is a link, and what it leads to is not as the lock file wants it.")
    _STAMP.unlink(missing_ok=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if find_spec("ensurepip"):
        _call("The virtual environment could not be made", [sys.executable, "-m", "venv", str(ENVIRONMENT)])
        pip = [str(PYTHON), "-m", "pip"]
    elif find_spec("pip"):  # Debian without python3-venv: the outer pip installs into an environment without one
        _call(
            "The virtual environment could not be made",
            [sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)],
        )
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    else:
        raise CannotInstall("Python has neither ensurepip nor pip; install python3-venv or python3-pip.")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    locked = ["--require-hashes", "--only-binary", ":all:", "-r", str(_LOCK_FILE)]
    _call("The locked packages could not be installed", [*pip, "install", *quiet, *locked])
    own = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    _call("The package itself could not be installed", [*pip, "install", *quiet, *own])
    _STAMP.write_text(_wanted(), "utf-8")


def _is_current() -> bool:
    try:
        return _STAMP.read_text("utf-8") == _wanted() and PYTHON.exists()
    except OSError:
        return False


def _wanted() -> str:
    """Return what the environment depends on: lock, the package's own description, this Python, and where we stand."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    package = [described["project"], described["build-system"], described["tool"]["hatch"]]
    digest = hashlib.sha256(_LOCK_FILE.read_bytes())
    digest.update(f"{package}{sys.version}{sys.base_prefix}{ROOT}".encode())
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one run at a time make the environment."""
    try:
        lock = (ROOT / ".venv.lock").open("w")
    except OSError as error:
        raise CannotInstall(_told(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _call(failure: str, argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotInstall(f"{failure}: {_reason(done.stdout + done.stderr)}")


def _reason(output: str) -> str:
    """Return the line of an installer's output that a person needs."""
    if "No space left" in output:
        return "the disk is full."
    if any(sign in output for sign in ("Connection", "Temporary failure in name resolution", "from versions: none")):
        return "the package index can't be reached or lacks a package; check the network or pip's settings."
    if "ensurepip" in output:
        return "Python's ensurepip does not work; install python3-venv."
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["no reason was given"])[0]


def _told(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full."
    return f"{error.strerror or error}: {error.filename or ROOT}"
