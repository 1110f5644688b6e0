"""Nobody holds a connection by being slow, and nobody loses one who is merely not fast."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.observability import configure_logging
from app.slow_clients import MAX_HEAD, ImpatientProtocol
from tests.support.replicas import until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING_GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SMALL = 4096  # bytes that a kernel is asked to keep, so that it is soon full
LARGE = 3_000_000  # bytes, far more than two such kernels keep
KEPT = 1  # seconds between two requests
PACE = 0.05  # seconds between two bytes


class Hurried(ImpatientProtocol):
    """The shipped protocol with less time, so that a test takes little."""

    head_patience = 0.4
    answer_patience = 0.4


class Calm(ImpatientProtocol):
    """The same for clients that are to be served, on a machine that may be busy."""

    head_patience = 1.2
    answer_patience = 1.2


@dataclass(frozen=True)
class Server:
    """A server under test, and who is connected to it."""

    port: int
    state: ServerState

    async def is_alone(self) -> None:
        """Return as soon as nobody is connected."""

        async def is_so() -> bool:
            return not self.state.connections

        await until(is_so)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(app: ASGIApp, protocol: type[ImpatientProtocol] = Hurried) -> AsyncIterator[Server]:
    config = uvicorn.Config(
        app, http=protocol, ws="none", log_config=None, access_log=False, lifespan="off", timeout_keep_alive=KEPT
    )
    config.load()
    state = ServerState()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)  # of whoever is accepted, too
    server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), sock=listening)
    async with server:
        yield Server(listening.getsockname()[1], state)
        await asyncio.gather(*state.tasks)  # whoever was dropped leaves no request behind that never ends


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connection]:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=client, limit=SMALL)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body and tell its length, and whether there was a cookie."""
    length, has_more = 0, True
    while has_more:
        message = await receive()
        length += len(message.get("body", b""))
        has_more = message.get("more_body", False)
    has_cookie = any(name == b"cookie" for name, _ in scope["headers"])
    await answer(send, f"{length} {has_cookie}".encode())


async def refusing(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    await answer(send, b"no")


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer in one piece, as JSON is answered."""
    await answer(send, b"x" * LARGE)


async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer piece by piece, as events are."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(30):
        await send({"type": "http.response.body", "body": b"x" * (LARGE // 30), "more_body": True})
    await send({"type": "http.response.body"})


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def trickle(connection: Connection, piece: bytes) -> None:
    """Send this again and again, until the server has had enough; it is never silent for as long as it may be."""
    reader, writer = connection
    ended = asyncio.ensure_future(drained(reader))
    async with asyncio.timeout(10):
        while not ended.done():
            writer.write(piece)
            await asyncio.wait({ended}, timeout=PACE)


async def drained(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends, in whatever way."""
    got = bytearray()
    try:
        while piece := await reader.read(SMALL):
            got += piece
    except ConnectionResetError:
        pass
    return bytes(got)


@pytest.fixture
def logged() -> None:
    configure_logging(level="INFO", log_format="json")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", GET[:-1], b"POST / HTTP/1.1\r\nContent-Length: 5\r\n"])
async def test_who_does_not_finish_a_head_is_dropped(sent: bytes) -> None:
    async with serving(answering) as server, connected(server) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await drained(reader) == b""
        await server.is_alone()


@pytest.mark.parametrize(
    ("begun", "piece"),
    [(b"GET / HTTP/1.1\r\nX: ", b"x"), (b"GET /", b"x"), (b"", b"\r\n"), (b"GET / HTTP/1.1\r\n", b"X: y\r\n")],
)
async def test_who_sends_a_head_byte_by_byte_is_dropped(begun: bytes, piece: bytes) -> None:
    async with serving(answering) as server, connected(server) as connection:
        connection[1].write(begun)
        await trickle(connection, piece)
        await server.is_alone()


async def test_a_second_head_has_no_more_time_than_the_first() -> None:
    async with serving(answering) as server, connected(server) as connection:
        reader, writer = connection
        writer.write(GET)
        assert b"200" in await reader.readuntil(b"0 False")
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        await trickle(connection, b"x")
        await server.is_alone()


async def test_the_rest_of_a_body_that_nobody_wants_is_not_waited_for() -> None:
    async with serving(refusing) as server, connected(server) as connection:
        connection[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
        assert await connection[0].readuntil(b"no")
        await trickle(connection, b"x")
        await server.is_alone()


async def test_a_head_without_an_end_is_dropped_before_it_fills_the_memory() -> None:
    async with serving(answering, Calm) as server, connected(server) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD + 1))
        began_at = asyncio.get_running_loop().time()
        assert await drained(reader) == b""
        assert asyncio.get_running_loop().time() - began_at < Calm.head_patience
        await server.is_alone()


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("app", [large, streaming])
@pytest.mark.parametrize("request_", [GET, CLOSING_GET])
async def test_who_does_not_read_is_dropped(app: ASGIApp, request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(app) as server, connected(server) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport, too
        writer.write(request_)
        await server.is_alone()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await drained(reader)) < LARGE
    assert "slow_client_dropped" in caplog.text


async def test_who_takes_his_time_within_the_limits_is_served() -> None:
    async with serving(answering, Calm) as server, connected(server) as (reader, writer):
        for piece in (b"POST / HTTP/1.1\r\n", b"Host: x\r\nContent-", b"Length: 30\r\n\r\n"):
            writer.write(piece)
            await asyncio.sleep(Calm.head_patience / 6)
        for _ in range(30):  # a body has a limit of its own, at the gates
            writer.write(b"x")
            await asyncio.sleep(PACE)
        assert b"HTTP/1.1 200 OK" in await reader.readuntil(b"30 False")
        writer.write(GET)
        assert await reader.readuntil(b"0 False")


async def test_who_reads_slowly_but_reads_gets_everything() -> None:
    async with serving(streaming, Calm) as server, connected(server) as (reader, writer):
        writer.write(CLOSING_GET)
        got = 0
        while piece := await reader.read(LARGE // 60):
            got += len(piece)
            await asyncio.sleep(0.001)
        assert got > LARGE


@pytest.mark.parametrize("request_", [GET, CLOSING_GET])
async def test_who_reads_for_longer_than_the_patience_gets_everything(request_: bytes) -> None:
    """Of an answer that was written in one piece: nothing more is to come that could show that he reads."""
    async with serving(large) as server, connected(server) as (reader, writer):
        loop = asyncio.get_running_loop()
        writer.write(request_)
        began_at, got = loop.time(), 0
        while got < LARGE:
            piece = await reader.read(LARGE)
            assert piece, f"cut after {got} bytes"
            got += len(piece)
            await asyncio.sleep(3 * Hurried.answer_patience * len(piece) / LARGE)  # three patiences for all of it
        assert loop.time() - began_at > 2 * Hurried.answer_patience


async def test_a_body_is_no_part_of_the_head_behind_it() -> None:
    async with serving(answering, Calm) as server, connected(server) as (reader, writer):
        body = b"b" * MAX_HEAD
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GET[:9])
        assert await reader.readuntil(b"%d False" % MAX_HEAD)
        writer.write(GET[9:])
        assert await reader.readuntil(b"0 False")


async def test_a_head_behind_a_body_has_the_same_bound() -> None:
    async with serving(answering, Calm) as server, connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nbGET / HTTP/1.1\r\nX: ")
        assert await reader.readuntil(b"1 False")
        writer.write(b"x" * (MAX_HEAD + 1))
        began_at = asyncio.get_running_loop().time()
        assert await drained(reader) == b""
        assert asyncio.get_running_loop().time() - began_at < Calm.head_patience


@pytest.mark.usefixtures("logged")
async def test_nobody_is_dropped_who_has_gone_from_an_idle_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Uvicorn keeps the timer of one that was reset."""
    async with serving(answering) as server, connected(server) as (reader, writer):
        writer.write(GET)
        assert await reader.readuntil(b"0 False")
        reset(writer)
        await server.is_alone()
        await asyncio.sleep(KEPT + 2 * Hurried.answer_patience)  # nothing is to happen
    assert "slow_client_dropped" not in caplog.text


@pytest.mark.usefixtures("logged")
async def test_nobody_is_dropped_who_went_while_he_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    """Uvicorn does not tell the first of two requests that nobody is there, and its answer ends on a closed line."""
    let_begin, let_end = asyncio.Event(), asyncio.Event()

    async def late(_scope: Scope, _receive: Receive, send: Send) -> None:
        await let_begin.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await let_end.wait()
        await send({"type": "http.response.body"})

    async with serving(late) as server, connected(server) as (_, writer):

        async def is_asked() -> bool:
            return bool(server.state.tasks)

        writer.write(GET + GET)
        await until(is_asked)
        reset(writer)
        await asyncio.sleep(PACE)
        let_begin.set()
        await server.is_alone()
        let_end.set()
        await asyncio.sleep(2 * Hurried.answer_patience)  # nothing is to happen
    assert "slow_client_dropped" not in caplog.text


def reset(writer: asyncio.StreamWriter) -> None:
    """Go without a word, as a machine does that was switched off and on."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_who_waits_for_an_answer_is_not_slow() -> None:
    """Also where he has sent the beginning of another request meanwhile, which we do not read."""
    let_go = asyncio.Event()

    async def late(_scope: Scope, _receive: Receive, send: Send) -> None:
        await let_go.wait()
        await answer(send, b"late")

    async with serving(late, Calm) as server, connected(server) as (reader, writer):
        writer.write(GET + GET + GET[:9])
        asyncio.get_running_loop().call_later(Calm.head_patience * 2 - 0.01, let_go.set)  # shortly before it is looked
        assert await reader.readuntil(b"late")
        writer.write(GET[9:])
        for _ in range(2):
            assert await reader.readuntil(b"late")


async def test_what_follows_a_body_is_no_header() -> None:
    async with serving(answering) as server, connected(server) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"2\r\nab\r\n0\r\nCookie: session=x\r\n\r\n")
        assert await reader.readuntil(b"2 False")


async def test_what_is_no_http_is_told_so_and_closed() -> None:
    async with serving(answering) as server, connected(server) as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400 Bad Request" in await drained(reader)
        await server.is_alone()
