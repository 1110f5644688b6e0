"""Uvicorn as we run it: our own log, no access line, no headers believed that a proxy did not set, and no patience."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.metrics.workers import shared_folder
from app.observability import configure_logging, logger
from app.settings import Settings
from app.slow_clients import ImpatientProtocol, Server
from app.workers import run_workers

_log = logger("server")

_AWAKE_WITHIN = (
    30  # seconds until a worker is loaded and answers; uvicorn's five kill it over and over on a busy machine
)
_GRACE = 5  # seconds beyond the longest deadline, in which requests under way may end


class CannotListen(Exception):
    """The address is taken or not ours."""


def app_from_environment() -> FastAPI:
    """Return the service for a worker process; the one place that goes from environment to app."""
    settings = Settings.from_environment()
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    app = create_app(settings)
    gc.collect()
    gc.freeze()  # what is loaded now stays; looking at it again cost two thirds of the p99 (docs/performance.md)
    gc.set_threshold(20_000, 50, 100)
    return app


def run_server(
    settings: Settings, *, host: str, port: int, workers: int, certificate: Path | None, private_key: Path | None
) -> None:
    """Serve until told to stop; raises `CannotListen`."""
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    config = uvicorn.Config(
        "app.server:app_from_environment",
        factory=True,
        host=host,
        port=port,
        http=ImpatientProtocol,
        ws="none",  # nothing here speaks it, and the gates judge HTTP alone
        workers=workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_worker_healthcheck=_AWAKE_WITHIN,
        timeout_graceful_shutdown=longest_stop(settings),
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
    listening = _listen(host, port)
    taken = listening.getsockname()[1]
    _log.info("listening", host=host, port=taken, workers=workers, tls=certificate is not None)
    tell_metrics = partial(_tell_metrics, host, settings) if settings.metrics_port else None
    if workers > 1:
        with _folder_of_measures(is_wanted=tell_metrics is not None) as folder:
            run_workers(config, listening, folder=folder, tell_metrics=tell_metrics)
        return
    with ExitStack() as stack:
        if tell_metrics and (server := tell_metrics()):
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        Server(config).run(sockets=[listening])


@contextmanager
def _folder_of_measures(*, is_wanted: bool) -> Iterator[Path | None]:
    """Give a folder for what workers count; none where nobody reads it, or none can be made."""
    with ExitStack() as stack:
        folder = None
        try:
            folder = stack.enter_context(shared_folder()) if is_wanted else None
        except OSError as error:
            _log.error("metrics_not_served", reason=error.strerror)
        yield folder


def _tell_metrics(host: str, settings: Settings, workers: Path | None = None) -> WSGIServer | None:
    from app.metrics.serving import serve_metrics  # noqa: PLC0415  # megabytes that no worker needs

    return serve_metrics(host, settings.metrics_port, settings, workers)


def longest_stop(settings: Settings) -> int:
    """Return for how many seconds a server that was told to stop waits for what is under way."""
    return int(settings.broker_order_deadline.total_seconds()) + _GRACE


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # unnamed, asyncio would leave Nagle on
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CannotListen(f"Can't listen on {host}:{port}: {error.strerror or error}.") from error
    listening.set_inheritable(True)
    return listening
