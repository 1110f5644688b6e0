"""A store of permits that is gone, or hangs, is told from one that refuses, and soon; back again, it is used again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import asyncpg
import pytest
from pydantic import SecretStr

from app.clock import monotonic
from app.problems import TemporarilyUnavailable
from app.safeguards.counting import Bucket, PermitStore
from app.schema import migrate_schema
from tests.support.permits import STORES, a_bucket, a_window, opened_store
from workbench.servers import Postgres
from workbench.valkey import Valkey

SOON = 2.5  # seconds; nobody waits until all before him have found out
CROWD = 80  # more than there are connections


class Server(Protocol):
    """A store's own server, to be taken away."""

    @property
    def address(self) -> str: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...

    async def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def close(self) -> None: ...


class PostgresServer(Server):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = Postgres(folder, durable=False)
        self._server.__enter__()
        self._frozen: list[int] = []
        migrate_schema(SecretStr(self.address))

    @property
    def address(self) -> str:
        return self._server.url()

    def stop(self) -> None:
        self._server.__exit__(None, None, None)

    close = stop

    def start(self) -> None:
        self._server.__enter__()

    async def freeze(self) -> None:
        asking = await asyncpg.connect(self.address)
        rows = await asking.fetch("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await asking.close()
        postmaster = (self._folder / "data" / "postmaster.pid").read_text("utf-8").split()[0]
        self._frozen = [int(postmaster), *(row["pid"] for row in rows)]
        self._tell(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._frozen:
            os.kill(pid, number)


class ValkeyServer(Server):
    def __init__(self, folder: Path) -> None:
        self._server = Valkey(folder, is_kept=True)
        self._server.__enter__()

    @property
    def address(self) -> str:
        return self._server.url

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    async def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def close(self) -> None:
        self._server.__exit__(None, None, None)


@pytest.fixture(scope="module", params=STORES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with TemporaryDirectory(prefix="permits-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server may have to run as somebody else
        server = (PostgresServer if request.param == "postgres" else ValkeyServer)(folder / "server")
        try:
            yield server
        finally:
            server.close()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[PermitStore]:
    """Give a store whose connections are all open already."""
    async with opened_store(server.address) as opened:
        await asyncio.gather(*(opened.look([a_bucket()]) for _ in range(CROWD)))
        yield opened


async def turned_away(store: PermitStore, bucket: Bucket) -> float:
    """Let a crowd find out that the store is away; return how long the last of it took."""
    begun = monotonic()
    calls = [store.take([bucket]) for _ in range(CROWD - 3)]
    others = store.look([bucket]), store.pause(bucket.key, None), store.give_back(bucket.key)
    said = await asyncio.gather(*calls, *others, return_exceptions=True)
    assert [each for each in said if not isinstance(each, TemporarilyUnavailable)] == []
    return monotonic() - begun


async def test_a_store_whose_server_ended_is_away_until_it_is_back(server: Server, store: PermitStore) -> None:
    bucket = a_bucket(a_window(60, 1000))
    assert (await store.take([bucket])).is_granted
    server.stop()
    assert await turned_away(store, bucket) < SOON
    server.start()
    tallies = await asyncio.gather(*(store.take([bucket]) for _ in range(CROWD)))
    assert all(each.is_granted for each in tallies)
    assert sorted(each.counts[0].used for each in tallies) == list(range(1, CROWD + 1))


async def test_a_store_whose_server_hangs_is_away_until_it_goes_on(server: Server, store: PermitStore) -> None:
    bucket = a_bucket(a_window(60, 1000))
    await server.freeze()
    try:
        assert await turned_away(store, bucket) < SOON
    finally:
        server.thaw()
    next_one = a_bucket(a_window(60, 1000))  # the other may be counted and paused after all
    tallies = await asyncio.gather(*(store.take([next_one]) for _ in range(CROWD)))
    assert all(each.is_granted for each in tallies)
    assert sorted(each.counts[0].used for each in tallies) == list(range(CROWD))
