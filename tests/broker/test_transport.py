"""The wire itself: what arrives late, broken or not at all is told apart, and nothing is sent a second time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from typing_extensions import override

from app.broker.errors import NotSent
from app.broker.line import Gone, Line, Reply
from app.broker.lines import Gate, Lines
from app.broker.transport import Transport
from app.clock import monotonic
from app.problems import BrokerFault, BrokerTimeout, BrokerUnavailable, Problem
from tests.support.meters import READ, Granting, clearance

SECOND = timedelta(seconds=1)
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(conversation: Conversation) -> AsyncIterator[Transport]:
    """Give a transport to a server that speaks as `conversation` does, and then closes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await conversation(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = Transport.open(f"http://127.0.0.1:{port}/", SECOND, Granting())
    try:
        yield transport
    finally:
        await transport.aclose()
        server.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BrokerFault),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", BrokerFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BrokerFault),
        (b"", BrokerUnavailable),
    ],
)
async def test_what_is_no_whole_answer_is_a_problem(said: bytes, expected: type[Problem]) -> None:
    async def conversation(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with peer(conversation) as transport:
        with pytest.raises(expected):
            await transport.send("POST", "x", demand=READ, deadline=SECOND, body={})


async def test_a_deadline_covers_the_last_byte_too() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with peer(drip) as transport:
        began_at = asyncio.get_running_loop().time()
        with pytest.raises(BrokerTimeout):
            await transport.send("GET", "x", demand=READ, deadline=timedelta(seconds=0.3))
        assert asyncio.get_running_loop().time() - began_at < 2


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = Transport.open(f"http://127.0.0.1:{taken.getsockname()[1]}/", SECOND, Granting())
        with pytest.raises(BrokerUnavailable):
            await transport.send("GET", "x", demand=READ, deadline=SECOND)
        await transport.aclose()


async def test_a_connection_that_is_never_accepted_is_unavailable_and_not_a_time_out() -> None:
    """Nothing was sent, which is worth knowing apart from an answer that did not come."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        transport = Transport.open(f"http://127.0.0.1:{full.getsockname()[1]}/", timedelta(seconds=0.3), Granting())
        with pytest.raises(BrokerUnavailable):
            await transport.send("GET", "x", demand=READ, deadline=timedelta(seconds=5))
        await transport.aclose()


async def test_a_post_is_never_sent_again_over_a_kept_connection_that_died() -> None:
    heard: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"{}"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        heard.append(await reader.readuntil(b"{}"))
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    transport = Transport.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", SECOND, Granting())
    assert (await transport.send("POST", "x", demand=READ, deadline=SECOND, body={})).status == 200
    with pytest.raises(BrokerUnavailable):
        await transport.send("POST", "x", demand=READ, deadline=SECOND, body={})
    assert len(heard) == 2
    await transport.aclose()
    server.close()


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 502, 503, 504])
@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 100\r\n\r\nhalf", b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
     b"Content-Length: 40000000\r\n\r\n" + b"x" * 65536],
)  # fmt: skip
async def test_a_status_that_says_all_is_not_lost_with_a_broken_body(status: int, rest: bytes) -> None:
    async def conversation(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\n".encode() + rest)
        await writer.drain()

    async with peer(conversation) as transport:
        answer = await transport.send("GET", "x", demand=READ, deadline=SECOND)
    assert (answer.status, answer.retry_after) == (status, "7")


async def send_once(transport: Transport, *, within: float = 5.0, path: str = "x") -> int:
    leave = clearance(monotonic() + within)
    answer = await transport.send_once("POST", path, deadline=SECOND, clearance=leave, body={})
    return answer.status


async def test_what_can_not_be_connected_was_certainly_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = Transport.open(f"http://127.0.0.1:{taken.getsockname()[1]}/", SECOND, Granting())
        with pytest.raises(NotSent):
            await send_once(transport)
        await transport.aclose()


async def test_what_never_gets_a_connection_was_certainly_not_sent() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        transport = Transport.open(f"http://127.0.0.1:{full.getsockname()[1]}/", timedelta(seconds=0.3), Granting())
        with pytest.raises(NotSent):
            await send_once(transport)
        await transport.aclose()


async def test_no_byte_leaves_when_its_time_is_over() -> None:
    """A process that was frozen between its intent and its call wakes up too late, and sends nothing."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    transport = Transport.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", SECOND, Granting())
    with pytest.raises(NotSent):
        await send_once(transport, within=-0.001)
    await transport.aclose()
    server.close()
    await server.wait_closed()
    assert b"".join(heard) == b""


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"nonsense\r\n\r\n"])
async def test_what_broke_after_bytes_went_out_may_have_been_done(said: bytes) -> None:
    async def conversation(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with peer(conversation) as transport:
        with pytest.raises((BrokerUnavailable, BrokerFault)):
            await send_once(transport)


class Insistent(Lines):
    """A pool that does what a careless library would."""

    @override
    async def fetch_alone(self, request: bytes, gate: Gate) -> Reply:
        with contextlib.suppress(Gone):
            await super().fetch_alone(request, gate)
        return await super().fetch_alone(request, gate)


async def test_nothing_can_send_an_order_call_a_second_time() -> None:
    """Not even a pool that tries again by itself: here one does so on purpose."""
    heard: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # who was held back says nothing and goes
            heard.append(await reader.readuntil(b"{}"))
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport = Transport.open(base_url, SECOND, Granting())
    transport._acting = Insistent(base_url, 1.0, partial(Line, 1000, frozenset()))  # noqa: SLF001  # no other way to make a client that misbehaves
    with pytest.raises(BrokerUnavailable):
        await send_once(transport)
    assert len(heard) == 1
    with pytest.raises(BrokerUnavailable):
        await transport.send("POST", "x", demand=READ, deadline=SECOND, body={}, is_alone=True)
    assert len(heard) == 3  # it does what it is meant to where nothing stops it
    await transport.aclose()
    server.close()


async def test_each_order_call_has_a_connection_of_its_own() -> None:
    opened: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(await reader.readuntil(b"{}"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")
        await writer.drain()
        with contextlib.suppress(ConnectionError):  # whoever closes with something unread resets
            await reader.read()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    transport = Transport.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", SECOND, Granting())
    assert [await send_once(transport), await send_once(transport)] == [200, 200]
    assert len(opened) == 2
    assert all(b"onnection: close" in each for each in opened)
    await transport.aclose()
    server.close()
    await server.wait_closed()


async def kept_connection(transport: Transport) -> Line:
    """Return the one connection that waits in the pool, as soon as it does."""
    while True:
        if waiting := transport._reading._kept:  # noqa: SLF001  # to see inside
            return waiting[0]
        await asyncio.sleep(0.01)


async def test_what_came_unasked_on_a_kept_connection_is_nobodys_answer() -> None:
    """A proxy that answers twice must not give one user another's book."""
    unasked = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer + b"mine")
            await writer.drain()
            await unasked.wait()
            writer.write(answer + b"hers")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer + b"late")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    transport = Transport.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", SECOND, Granting())
    assert (await transport.send("GET", "x", demand=READ, deadline=SECOND)).body == b"mine"
    unasked.set()
    kept = await kept_connection(transport)
    while kept.is_free:  # noqa: ASYNC110  # it comes over a socket
        await asyncio.sleep(0.01)
    assert (await transport.send("GET", "x", demand=READ, deadline=SECOND)).body == b"mine"  # from a fresh connection
    await transport.aclose()
    server.close()


async def test_a_token_that_the_broker_quotes_goes_no_further() -> None:
    async def quote(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"status":"Not ok","message":"ORA: bad header Bearer opaque-token-7"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with peer(quote) as transport:
        answer = await transport.send("GET", "x", demand=READ, deadline=SECOND, bearer=SecretStr("opaque-token-7"))
    assert b"opaque-token-7" not in answer.body
    assert b"Bearer [redacted]" in answer.body
