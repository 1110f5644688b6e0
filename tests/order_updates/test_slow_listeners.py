"""Who does not read is dropped and can go on later; who listens holds no connection to the database."""

import asyncio
import re
import socket
from contextlib import AsyncExitStack

import pytest

from app.slow_clients import ImpatientProtocol
from tests.support.configured import configured
from tests.support.replicas import PUBLIC, Replicas, Trader, trading, until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker
from tests.support.streams import PATH, listening

MANY = 20_000  # events of a kilobyte: more than two kernels keep
SMALL = 4096  # bytes that a kernel is asked to keep


class Hurried(ImpatientProtocol):
    """The shipped protocol with less time, so that a test takes little."""

    answer_patience = 1.0


async def test_who_does_not_read_is_dropped_and_goes_on_where_he_was(
    replicas: Replicas, broker: SimulatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    settings = configured(replicas.database_url, broker.url, PUBLIC)
    async with serving(settings, protocol=Hurried) as service, trading(service, broker) as asha:
        await asha.get("/v1/orders")
        await _write_many(replicas)
        reader, writer = await _connected(service)
        writer.write(_request(service, asha))
        first = await reader.readuntil(b"id: 5\n")

        async def is_dropped() -> bool:
            return "slow_client_dropped" in caplog.text

        await until(is_dropped)
        rest = first + await _what_is_left(reader)
        writer.close()
        ids = [int(each) for each in re.findall(rb"^id: (\d+)$", rest, re.MULTILINE)][1:]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) < MANY
        async with listening(asha, last_id=str(ids[-1])) as stream:
            told = await stream.until(300)
        assert [int(each.id or 0) for each in told[:300]] == list(range(ids[-1] + 1, ids[-1] + 301))


async def test_listeners_leave_the_database_to_others(replicas: Replicas, asha: Trader) -> None:
    """More of them than a process has connections, each in the middle of its stream."""
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(listening(asha, replicas.first)) for _ in range(25)]
        held = await replicas.store.rows.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'")
        answers = await asyncio.gather(*(asha.get("/v1/session") for _ in range(25)))
        await asha.placed()
        for stream in streams:
            await stream.until(1)
    assert held <= 3  # this question's, and whoever is just being served
    assert {each.status_code for each in answers} == {200}


async def _write_many(replicas: Replicas) -> None:
    await replicas.store.rows.execute(
        "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at)"
        " SELECT user_id, u.last_event + n, order_no, 'MODIFIED', shown, '[]', now()"
        " FROM (SELECT * FROM order_events LIMIT 1) e, generate_series(1, $1) n, users u WHERE u.id = e.user_id",
        MANY,
    )
    await replicas.store.rows.execute("UPDATE users SET last_event = last_event + $1", MANY)


async def _connected(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    client.setblocking(False)  # as the socket has it
    host, _, port = service.url.removeprefix("http://").partition(":")
    await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
    return await asyncio.open_connection(sock=client, limit=SMALL)


def _request(service: Service, trader: Trader) -> bytes:
    lines = [
        f"GET {PATH}?since=0 HTTP/1.1",
        f"Host: {service.url.removeprefix('http://')}",
        f"Origin: {PUBLIC}",
        f"Cookie: session={trader.cookies['session']}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def _what_is_left(reader: asyncio.StreamReader) -> bytes:
    """Return what the kernel had taken before the connection was cut."""
    found = bytearray()
    try:
        while content := await reader.read(SMALL):
            found += content
    except ConnectionResetError:
        pass
    return bytes(found)
