"""A broker that answers what a test has written down, byte for byte, and a gateway that talks to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from app.broker.gateway import Gateway, Manner
from app.broker.paths import Paths
from app.broker.transport import Transport
from tests.support.meters import Granting

MANNER = Manner(timedelta(seconds=2), timedelta(seconds=2), "remarks", None)

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(status: int, body: bytes = b"", *headers: str) -> Answer:
    """Return an answer that closes its connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return answer


FUNDS = says(200, b'{"status":"Ok","message":"Success","result":[{"availableMargin":"1","openingBalance":"1"}]}')
AWAY = says(503)


def late(answer: Answer, seconds: float) -> Answer:
    """Return the same answer, which comes so many seconds after it was asked for."""

    async def later(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await answer(writer)

    return later


async def breaks(_writer: asyncio.StreamWriter) -> None:
    """Close the connection without a word."""


async def hangs(_writer: asyncio.StreamWriter) -> None:
    """Say nothing, for longer than any test waits."""
    await asyncio.sleep(60)


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Begin an answer at once, and let a byte of it follow each second."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"[")
        await writer.drain()
        await asyncio.sleep(1)


class Script:
    """What is answered, one after the other and the last for ever, and the heads of what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[bytes] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(writer)
        writer.close()


@asynccontextmanager
async def talking(script: Script, meter: Granting, **manner: Any) -> AsyncIterator[Gateway]:
    """Give a gateway to a broker that plays the script."""
    server = await asyncio.start_server(script.play, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = Transport.open(f"http://127.0.0.1:{port}/", timedelta(seconds=1), meter)
    try:
        yield Gateway(transport, Paths(("one", "two"), {}), SecretStr("secret"), replace(MANNER, **manner), meter)
    finally:
        await transport.aclose()
        server.close()
