"""The gateway's own promises: one deadline for a read, however many paths it takes."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
from pydantic import SecretStr

from app.broker.gateway import Gateway, Manner
from app.broker.paths import Paths
from app.broker.transport import Transport
from app.problems import BrokerTimeout
from tests.support.meters import BEARER, Granting


async def test_all_paths_of_a_read_share_one_deadline() -> None:
    asked: list[bytes] = []

    async def answer_late_that_it_is_not_here(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await asyncio.sleep(0.4)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_late_that_it_is_not_here, "127.0.0.1", 0)
    transport = Transport.open(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timedelta(seconds=1), Granting()
    )
    paths = Paths(("exchange",), {"funds": ["one", "two", "three", "four"]})
    manner = Manner(timedelta(seconds=0.6), timedelta(seconds=1), "remarks", None)
    gateway = Gateway(transport, paths, SecretStr("secret"), manner, Granting())
    with pytest.raises(BrokerTimeout):
        await gateway.funds(BEARER)
    assert len(asked) == 2
    await transport.aclose()
    server.close()


async def test_an_auth_code_goes_over_a_connection_of_its_own() -> None:
    """On a kept one that has just died it would be lost: it is good for one time, and nobody may send it again."""
    heard: list[bytes] = []

    async def give_a_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"stat":"Ok","clientId":"AB1234","userSession":"token"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()  # the rest of the question, and then its end
        writer.close()

    server = await asyncio.start_server(give_a_session, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = Transport.open(f"http://127.0.0.1:{port}/", timedelta(seconds=1), Granting())
    manner = Manner(timedelta(seconds=2), timedelta(seconds=1), "remarks", None)
    gateway = Gateway(transport, Paths(("exchange",), {}), SecretStr("secret"), manner, Granting())
    for _ in range(2):
        assert (await gateway.exchange("AB1234", "CODE")).user_id == "AB1234"
    assert len(heard) == 2
    assert all(b"onnection: close" in each for each in heard)
    await transport.aclose()
    server.close()
