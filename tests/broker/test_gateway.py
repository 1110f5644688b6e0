"""The gateway's own promises: one deadline for a read, however many paths it takes."""

import asyncio
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
