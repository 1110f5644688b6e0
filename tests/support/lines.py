"""A line to a server that can be cut, or held so that whoever calls waits for a connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Line:
    """Passes bytes on, from its own socket to another server's."""

    def __init__(self, listening: socket.socket, call: Callable[[], Awaitable[Ends]]) -> None:
        self._listening = listening
        self._call = call
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._filler: socket.socket | None = None
        self.calls = 0
        """How many connections were taken."""
        self.passed = 0
        """How many bytes went to the server."""
        self.lose_answer_to: tuple[bytes, bytes] | None = None
        """Cut a connection, once, when it has passed on the first of these, then the second, and that is answered."""
        self.lost = 0
        self.hides_ends = False
        """Keep from callers that the server has closed their connection."""
        self.hidden = 0

    async def open(self) -> None:
        """Take connections, those first that have waited."""
        self._drop_filler()
        make = asyncio.start_unix_server if self._listening.family == socket.AF_UNIX else asyncio.start_server
        self._server = await make(self._pass, sock=self._listening.dup())

    def hold(self) -> None:
        """Let whoever calls wait: the one place in the queue is taken, and Linux has the others ask again later."""
        self._listening.listen(0)
        self._filler = socket.create_connection(self._listening.getsockname())

    async def cut(self) -> None:
        """Close every connection and take no more."""
        if self._server is not None:
            self._server.close()
        self._listening.close()
        self._drop_filler()
        for writer in list(self._writers):
            writer.transport.abort()

    def _drop_filler(self) -> None:
        if self._filler is not None:
            self._filler.close()
            self._filler = None

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        far_reader, far_writer = await self._call()
        self._writers |= {writer, far_writer}
        said: list[bytes] = []
        try:
            await asyncio.gather(self._pour(reader, far_writer, said), self._answer(far_reader, writer, said))
        finally:
            writer.close()
            self._writers -= {writer, far_writer}

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: list[bytes]) -> None:
        with suppress(OSError):
            while part := await reader.read(65_536):
                self.passed += len(part)
                said += [words for words in (self.lose_answer_to or ())[len(said) :][:1] if words in part]
                writer.write(part)
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: list[bytes]) -> None:
        with suppress(OSError):
            while part := await reader.read(65_536):
                if self.lose_answer_to and tuple(said) == self.lose_answer_to:
                    self.lose_answer_to = None
                    self.lost += 1
                    break
                writer.write(part)
                await writer.drain()
        if self.hides_ends:
            self.hidden += 1
        else:
            writer.close()


@asynccontextmanager
async def line_to_port(port: int) -> AsyncIterator[tuple[Line, int]]:
    """Give a line to a port of this machine, not yet open, and the port at which it is called."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    line = Line(listening, lambda: asyncio.open_connection("127.0.0.1", port))
    try:
        yield line, listening.getsockname()[1]
    finally:
        await line.cut()


@asynccontextmanager
async def line_to_socket(path: Path, folder: Path) -> AsyncIterator[Line]:
    """Give an open line to a Unix socket, by one of the same name in `folder`."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / path.name))
    line = Line(listening, lambda: asyncio.open_unix_connection(str(path)))
    await line.open()
    try:
        yield line
    finally:
        await line.cut()
