"""Replicas as processes of their own, to be killed and frozen; forked from one that has imported everything already."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import uvicorn

from app.main import create_app
from app.observability import configure_logging
from app.settings import Settings
from app.slow_clients import ImpatientProtocol
from tests.support.replicas import until
from tests.support.service import Service
from workbench.children import free_port

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload([__name__])


class Process:
    """One replica, running or dead."""

    def __init__(self, settings: Settings, log: Path, grace: int | None = None) -> None:
        self._settings = settings
        self._log = log
        self._grace = grace
        self._child: BaseProcess | None = None
        self.service = Service("", settings)

    async def start(self) -> None:
        """Start it, on a port of its own, and return when it answers."""
        port = free_port()
        self.service = Service(f"http://127.0.0.1:{port}", self._settings)
        self._child = _forking.Process(target=_serve, args=(self._settings, port, self._log, self._grace), daemon=True)
        self._child.start()
        async with httpx.AsyncClient(base_url=self.service.url) as client:

            async def is_up() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(is_up, within=20)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.join()

    def ask_to_end(self) -> None:
        """Ask it to finish what it has begun and go, as a deployment does."""
        self._signal(signal.SIGTERM)

    def wait_for_end(self) -> None:
        """Return when it is gone by itself; to be called in a thread."""
        assert self._child is not None
        self._child.join(timeout=20)
        assert not self._child.is_alive()

    def written(self) -> str:
        """Return what it has logged."""
        return self._log.read_text("utf-8")

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def _signal(self, wanted: signal.Signals) -> None:
        assert self._child is not None
        assert self._child.pid is not None
        os.kill(self._child.pid, wanted)


@asynccontextmanager
async def process(settings: Settings, log: Path, grace: int | None = None) -> AsyncIterator[Process]:
    """Run a replica in a process of its own, and see to it that it is gone afterwards.

    Asked to end, it waits `grace` seconds for its callers, by default as long as they need.
    """
    replica = Process(settings, log, grace)
    await replica.start()
    try:
        yield replica
    finally:
        replica.kill()


def _serve(settings: Settings, port: int, log: Path, grace: int | None) -> None:
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    sys.stdout = log.open("a", buffering=1, encoding="utf-8")
    configure_logging(level="INFO", log_format="json")
    config = uvicorn.Config(
        create_app(settings), host="127.0.0.1", port=port, http=ImpatientProtocol, ws="none", log_config=None,
        access_log=False, server_header=False,
        timeout_graceful_shutdown=grace,
    )  # fmt: skip
    uvicorn.Server(config).run()


def _end_with_the_tests() -> None:
    """Leave nothing behind, even where the tests themselves were killed."""
    tests = multiprocessing.parent_process()
    if tests is not None:
        tests.join()
        os._exit(1)
