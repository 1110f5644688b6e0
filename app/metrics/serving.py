"""The port where Prometheus asks: one for a process and all workers that it has."""

from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from app.metrics.census import Census
from app.metrics.telling import MeasuresCollector
from app.metrics.workers import Workers, own_standing
from app.observability import logger
from app.settings import Settings

_log = logger("metrics")


def serve_metrics(host: str, port: int, settings: Settings, workers: Path | None = None) -> WSGIServer | None:
    """Answer Prometheus from now on, in a thread; a port that is taken is an error in the log and nothing worse.

    With a folder what its workers have written is told, else what this process counts itself.
    """
    registry = CollectorRegistry()
    registry.register(MeasuresCollector(Workers(workers).standing if workers else own_standing))
    registry.register(Census(settings.database_url, settings.session_idle_timeout))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server, _thread = start_http_server(port, host, registry)
    except OSError as error:
        _log.error("metrics_not_served", host=host, port=port, reason=error.strerror)
        return None
    _log.info("metrics_served", host=host, port=port)
    return server
