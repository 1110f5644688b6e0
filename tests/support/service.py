"""The shipped app on a real socket, in the test's own process so that its coverage counts."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from typing_extensions import override

from app.clock import Clock
from app.main import create_app
from app.settings import Settings
from app.slow_clients import ImpatientProtocol


@dataclass(frozen=True)
class Service:
    """A running backend and its settings."""

    url: str
    settings: Settings


class _Server(uvicorn.Server):
    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


@asynccontextmanager
async def serving(
    settings: Settings, clock: Clock | None = None, protocol: type[ImpatientProtocol] = ImpatientProtocol
) -> AsyncIterator[Service]:
    """Serve on a free port; the settings' public address becomes that of the port where it is the default one."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # unnamed: 40 ms an answer
    listening.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if settings.public_base_url == "http://127.0.0.1:1":
        settings = _at(settings, url)
    server = _Server(
        uvicorn.Config(
            create_app(settings, clock),
            http=protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )
    serving_task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        if serving_task.done():
            listening.close()
            serving_task.result()
            raise RuntimeError("the service ended before it had started")
        await asyncio.sleep(0.01)
    try:
        yield Service(url, settings)
    finally:
        server.should_exit = True
        await serving_task
        listening.close()


def _at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(
        update={"public_base_url": url, "frontend_origins": (url,), "default_return_url": f"{url}/portal/"}
    )
