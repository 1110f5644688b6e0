"""A process that is told to stop answers whoever has reached it: a proxy could not send his order a second time."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.slow_clients import FIRST_REQUEST_PATIENCE, ImpatientProtocol, Server
from tests.support.replicas import until

REQUEST = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
MANY = 20


async def _answer(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
async def listening() -> AsyncIterator[socket.socket]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found


@pytest.fixture
async def server(listening: socket.socket) -> Server:
    config = uvicorn.Config(_answer, http=ImpatientProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    found = Server(config)
    found.lifespan = config.lifespan_class(config)
    await found.startup(sockets=[listening])
    return found


async def _is_connected(server: Server) -> None:
    async def is_so() -> bool:
        return bool(server.server_state.connections)

    await until(is_so)


async def _told(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read()


async def test_a_first_request_that_comes_while_it_stops_is_answered(server: Server, listening: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    await _is_connected(server)
    stopping = asyncio.create_task(server.shutdown(sockets=[listening]))
    await asyncio.sleep(0)  # its sockets are closed, and the connections told
    writer.write(REQUEST)
    answer = await _told(reader)
    writer.close()
    await stopping
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"connection: close" in answer


async def test_whoever_waits_to_be_accepted_is_answered(server: Server, listening: socket.socket) -> None:
    """No turn of the loop comes between their connections, which the kernel makes by itself, and the stop."""
    callers = [socket.create_connection(listening.getsockname()) for _ in range(MANY)]
    for each in callers:
        each.sendall(REQUEST)
    callers[0].close()  # who has left meanwhile keeps nobody waiting
    await server.shutdown(sockets=[listening])
    for each in callers[1:]:
        reader, writer = await asyncio.open_connection(sock=each)
        assert (await _told(reader)).startswith(b"HTTP/1.1 201")
        writer.close()


async def test_a_connection_on_which_nothing_comes_holds_it_up_for_a_moment_alone(
    server: Server, listening: socket.socket
) -> None:
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    await _is_connected(server)
    async with asyncio.timeout(FIRST_REQUEST_PATIENCE + 3):
        await server.shutdown(sockets=[listening])
    assert await _told(reader) == b""
    writer.close()
