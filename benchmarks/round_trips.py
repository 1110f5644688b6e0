"""Counts round trips where they happen: on a socket between client and server, whatever either of them believes."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class RoundTrips:
    """Passes everything on to a server's socket; one round trip is one turn from asking to answering."""

    def __init__(self, listening: Path, server: Path) -> None:
        self._listening = listening
        self._server = server
        self.count = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._pass_on, self._listening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._listening.unlink(missing_ok=True)

    async def _pass_on(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        is_asking = False

        async def ask() -> None:
            nonlocal is_asking
            while said := await from_client.read(_CHUNK):
                is_asking = True
                to_server.write(said)
            to_server.close()

        async def answer() -> None:
            nonlocal is_asking
            while said := await from_server.read(_CHUNK):
                self.count += is_asking
                is_asking = False
                to_client.write(said)
            to_client.close()

        await asyncio.gather(ask(), answer())
