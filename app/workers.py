"""Several workers, forked from one process that has loaded everything: what none of them changes they have in common.

What nobody may inherit is not there when they are forked: this process has one thread, and nothing open but the socket
(docs/decisions/0021).
"""

import gc
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from typing_extensions import override
from uvicorn.config import Config
from uvicorn.supervisors import multiprocess

from app import measures
from app.metrics.workers import shared_measures
from app.slow_clients import Server

_FORK = multiprocessing.get_context("fork")
_LAST_MOMENT = 1.0  # seconds for a process that has nothing to finish
_LOOKS_EVERY = 1.0  # seconds

TellMetrics = Callable[[Path], object]
"""Answers Prometheus from now on with what the workers write into a folder; returns nothing where it can't."""


def run_workers(
    config: Config, listening: socket.socket, *, folder: Path | None, tell_metrics: TellMetrics | None
) -> None:
    """Serve until told to stop, with as many workers as the configuration says; what they count goes into the folder.

    Signals are those of uvicorn's supervisor: `SIGHUP` exchanges all workers, one after the other, who read settings
    and certificate anew; `SIGTTIN` and `SIGTTOU` make it one more and one less.
    """
    measures.ALL.begin_anew()  # what the look before the start counted would be told once for each worker
    gc.collect()
    gc.freeze()  # a collector that marks what is shared would copy it
    supervisor = _Supervisor(config, listening, partial(tell_metrics, folder) if folder and tell_metrics else None)
    multiprocess.Process = partial(_Worker, supervisor, folder)  # type: ignore[misc,assignment]  # it asks nobody which
    supervisor.run()


class _Supervisor(multiprocess.Multiprocess):
    """Uvicorn's, which keeps no door open that nobody stands behind any more, and one who tells of all workers."""

    def __init__(self, config: Config, listening: socket.socket, tell_metrics: Callable[[], object] | None) -> None:
        super().__init__(config, [listening])
        self._tell_metrics = tell_metrics
        self._teller = self._new_teller()

    @override
    def init_processes(self) -> None:
        self._start_teller()
        super().init_processes()

    @override
    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        was_killed = (self._teller.exitcode or 0) < 0  # else its port is taken, and stays so
        if was_killed and not self.should_exit.is_set():
            self._teller = self._new_teller()
            self._start_teller()

    @override
    def terminate_all(self) -> None:
        for each in self.sockets:  # ours; while it is open the kernel takes connections that no worker will accept
            each.close()
        super().terminate_all()

    @override
    def join_all(self) -> None:
        super().join_all()
        if self._tell_metrics:
            self._teller.terminate()
            self._teller.join(_LAST_MOMENT)
            self._teller.kill()  # it has no last words

    def close_pipes(self, but: multiprocess.Process | None = None) -> None:
        """Leave alone, in a child, what its parent says to other children."""
        for each in self.processes:
            if each is not but:
                each.parent_conn.close()
                each.child_conn.close()

    def _new_teller(self) -> multiprocessing.context.ForkProcess:
        """Return a process for the metrics; a thread for them would be forked, as it happens to be, into workers."""
        return _FORK.Process(target=self._tell, name="metrics", daemon=True)

    def _start_teller(self) -> None:
        if self._tell_metrics:
            with _signals_held():
                self._teller.start()

    def _tell(self) -> None:
        _take_signals()
        self.close_pipes()
        for each in self.sockets:
            each.close()
        parent = os.getppid()
        if self._tell_metrics and self._tell_metrics():
            while os.getppid() == parent:  # its end can't be heard of: workers hold the pipe that would tell
                time.sleep(_LOOKS_EVERY)


class _Worker(multiprocess.Process):
    """One of them, as uvicorn's supervisor knows it."""

    def __init__(
        self, supervisor: _Supervisor, folder: Path | None, config: Config, sockets: list[socket.socket]
    ) -> None:
        super().__init__(config, sockets)
        self.process = _FORK.Process(target=self._work, args=(folder, sockets))  # type: ignore[assignment]
        self._server = _Server(config)
        self._supervisor = supervisor

    @override
    def start(self) -> None:
        with _signals_held():
            super().start()

    def _work(self, folder: Path | None, sockets: list[socket.socket]) -> None:
        _take_signals()
        self._supervisor.close_pipes(but=self)
        with shared_measures(folder):
            self.target(sockets)


class _Server(Server):
    """Ours, which goes on to its last words; uvicorn's obeys the signal a second time when it has served, and dies."""

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold what comes while a child is begun, who would swallow it with handlers that are its parent's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, multiprocess.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, multiprocess.SIGNALS)


def _take_signals() -> None:
    """Obey signals as a process that nobody has forked: until it serves, each that means the end is the end."""
    for each in multiprocess.SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, multiprocess.SIGNALS)
