"""Processes that are started, waited for by a condition, ended by pid, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.guard import GUARD_SOURCE

_PATIENCE = 60.0  # seconds until a child must be ready
_GRACE = 20.0  # seconds in which it may end by itself

ROOT = Path(__file__).parents[1]

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own ports are behind nobody's proxy


class ChildProblem(Exception):  # what a person is told
    """A process did not come up, or ended when nobody had asked it to."""


class Child:
    """One process under a guard; a context manager that returns when it is ready.

    It runs in the folder of its log: a `.env` in the checkout is somebody's own and has no say in it.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        is_ready: Callable[[], bool],
        patience: float = _PATIENCE,
    ) -> None:
        self.name = name
        self._argv = argv
        self._environment = dict(environment)
        self._log = log
        self._is_ready = is_ready
        self._patience = patience

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and return when it is ready; raises `ChildProblem` with its last words."""
        guard = [sys.executable, "-I", "-S", "-c", GUARD_SOURCE, str(int(signal.SIGTERM)), "0", "0", "-1"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*guard, *self._argv], env=self._environment, cwd=self._log.parent,
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        give_up_at = time.monotonic() + self._patience
        while not self._is_ready():
            if not self.is_running() or time.monotonic() > give_up_at:
                self.stop()
                raise ChildProblem(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask the process to end, and see to it that it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End guard and process at once, as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_GRACE)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def last_words(self, lines: int = 8) -> str:
        """Return the end of what the process wrote."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """Return everything that the process has written so far."""
        return self._log.read_text("utf-8", "replace")


def simulator(port: int, *, environment: Mapping[str, str], log: Path) -> Child:
    """Return the simulated broker on a port of this machine; its settings are SIMULATOR_… of the environment."""
    argv = [sys.executable, "-m", "simulator", "--host", "127.0.0.1", "--port", str(port)]
    return Child("the simulator", argv, environment=environment, log=log, is_ready=answers(port, "/_simulator/state"))


def backend(port: int, *, environment: Mapping[str, str], log: Path, workers: int = 1) -> Child:
    """Return the backend on a port of this machine; its settings are the environment, as everywhere."""
    argv = [sys.executable, "-m", "app", "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    return Child("the backend", argv, environment=environment, log=log, is_ready=answers(port, "/healthz"))


def answers(port: int, path: str) -> Callable[[], bool]:
    """Return a condition: a GET of this path is answered with 200."""

    def is_answered() -> bool:
        try:
            with _DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
                return bool(response.status == 200)  # noqa: PLR2004  # OK
        except (urllib.error.URLError, OSError):
            return False

    return is_answered


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
