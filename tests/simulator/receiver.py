"""A vendor's end of the order webhook, on a port of its own and in a thread of its own."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from tests.support.replicas import until
from tests.support.simulated import SimulatedBroker

TAKEN = {"status": "Ok", "message": "Success", "result": []}
"""What a subscription is answered with."""


@dataclass(frozen=True)
class Received:
    """One request that came; `at` is a moment of the monotonic clock, in seconds."""

    path: str
    content_type: str
    payload: dict[str, Any]
    at: float


class Receiver:
    """What was posted here, in the order of arrival; answers with `status`, or with none leaves everybody waiting."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.received: list[Received] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, path: str = "hook") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def payloads(self, path: str = "hook") -> list[dict[str, Any]]:
        return [each.payload for each in self.received if each.path == f"/{path}"]

    def about(self, number: str) -> list[dict[str, Any]]:
        """Return what came of one order."""
        return [each for each in self.payloads() if each["norenordno"] == number]

    def said(self, number: str | None = None) -> list[tuple[str, str]]:
        """Return report and status of what came, of one order or of all."""
        came = self.about(number) if number else self.payloads()
        return [(each["reporttype"], each["status"]) for each in came]

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.received.append(Received(self.path, self.headers["Content-Type"], body, time.monotonic()))
                if receiver.status is None:
                    receiver.released.wait()
                    return
                self.send_response(receiver.status)
                self.send_header("Location", receiver.url("elsewhere"))  # nobody is to go there
                self.end_headers()

            @override
            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


async def settled(broker: SimulatedBroker) -> dict[str, Any]:
    """Return what became of all updates, as soon as none waits."""

    async def is_settled() -> dict[str, Any] | None:
        found = broker.webhooks()
        return found if found["waiting"] == 0 else None

    return await until(is_settled)


async def arrived(receiver: Receiver, count: int) -> None:
    """Wait until so many requests have come to a receiver."""

    async def have_come() -> bool:
        return len(receiver.received) >= count

    await until(have_come)
