"""A replica that is told to stop: nobody new comes in, what is under way is answered, and it ends in time."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx
import pytest

from tests.conftest import create_clone
from tests.support.environment import environment, partner
from tests.support.replicas import until
from tests.support.shipped import is_ready, served
from workbench.servers import Postgres

IN_TIME = 20  # seconds that a container is given


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """Give the address of a broker that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


async def test_no_worker_that_goes_leaves_a_door_open_behind_it(
    worker: str, silent_broker: str, tmp_path: Path
) -> None:
    settings = environment(await create_clone(f"stopping_{worker}"), silent_broker)
    with served(settings, tmp_path / "log", workers=2) as (child, url):
        async with httpx.AsyncClient(timeout=IN_TIME) as browser:
            await until(lambda: is_ready(browser, url), within=30)
            began = await browser.get(f"{url}/sso/login")
            cookie = began.headers["set-cookie"].partition(";")[0]
            under_way = asyncio.create_task(
                browser.get(
                    f"{url}/sso/callback", params={"authCode": "c" * 20, "userId": "AB1234"}, headers={"Cookie": cookie}
                )
            )
            await asyncio.wait([under_way], timeout=0.3)  # it leaves; the broker's silence keeps it for eight seconds
            child.send_signal(signal.SIGTERM)

            async def is_shut() -> bool:
                try:
                    await browser.get(f"{url}/healthz", timeout=2, headers={"Connection": "close"})
                except httpx.ConnectError:
                    return True
                except httpx.TransportError:
                    return False
                return False

            await until(is_shut, within=5)
            assert not under_way.done()  # it is while the old request still waits for the broker
            assert (await under_way).status_code == 504
        assert await asyncio.to_thread(child.wait, IN_TIME) == 0


@pytest.fixture
def cluster() -> Iterator[Postgres]:
    """Give a PostgreSQL of its own, to be frozen."""
    with TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o711)  # its server may run as somebody else
        with Postgres(Path(folder) / "pg", durable=False) as cluster:
            yield cluster


async def test_a_database_that_hangs_keeps_no_replica_from_ending(
    silent_broker: str, cluster: Postgres, tmp_path: Path
) -> None:
    settings = environment(cluster.create_database("hanging"), silent_broker)
    assert (await asyncio.to_thread(partner, "migrate", environment=settings)).returncode == 0
    with served(settings, tmp_path / "log", workers=1) as (child, url):
        async with httpx.AsyncClient() as client:
            await until(lambda: is_ready(client, url), within=30)
        frozen = _family(cluster)
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        try:
            begun_at = monotonic()
            child.send_signal(signal.SIGTERM)
            await asyncio.to_thread(child.wait, IN_TIME)
            assert monotonic() - begun_at < IN_TIME / 2
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)


def _family(cluster: Postgres) -> list[int]:
    """Return the processes of a Postgres."""
    first = int((cluster._data / "postmaster.pid").read_text("utf-8").splitlines()[0])  # noqa: SLF001  # nobody else asks
    children = Path(f"/proc/{first}/task/{first}/children").read_text("utf-8").split()
    return [first, *map(int, children)]
