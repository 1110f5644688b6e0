"""Several workers: forked from one process, with nothing in it that is not theirs, and exchanged as signals say."""

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.environment import environment
from tests.support.replicas import until
from tests.support.scraped import samples, told_at
from tests.support.shipped import is_ready, measures_of, served
from tests.support.wires import Authority
from workbench.children import free_port

NOWHERE = "http://127.0.0.1:1/"
LISTENS = "0A"  # TCP_LISTEN in the kernel's tables
NOT_FOUND = 'partner_requests_total{method="GET",outcome="4xx",problem="not-found",route="-"}'


@dataclass(frozen=True)
class Replica:
    """A running one with two workers, and where it tells of them."""

    child: subprocess.Popen[bytes]
    url: str
    metrics_port: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def told(self, name: str) -> float:
        """Return one number of its metrics, 0 while nobody tells them."""
        try:
            return samples(await told_at(self.metrics_port)).get(name, 0.0)
        except httpx.TransportError:
            return 0.0

    async def has(self, workers: int) -> list[int]:
        """Wait until so many workers are told of, and return their ids."""

        async def are_there() -> bool:
            return await self.told("partner_workers") == workers == len(worker_ids(self))

        await until(are_there, within=30)
        return worker_ids(self)


@pytest.fixture
async def replica(database_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
    port = free_port()
    settings = environment(database_url, NOWHERE, METRICS_PORT=str(port))
    with served(settings, tmp_path / "log", workers=2) as (child, url):
        async with httpx.AsyncClient() as client:
            await until(lambda: is_ready(client, url), within=30)
        try:
            yield Replica(child, url, port)
        finally:
            child.terminate()
            await asyncio.to_thread(child.wait, 20)


async def is_silent(port: int) -> bool:
    try:
        await told_at(port)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:  # it ends at this very moment
        return False
    return False


async def test_workers_have_most_of_their_memory_in_common_with_a_parent_of_one_thread(replica: Replica) -> None:
    for each in await replica.has(2):
        assert shared_mib(each) > 25
    assert threads(replica.child.pid) == 1


async def test_no_worker_has_what_the_parent_says_to_another(replica: Replica) -> None:
    first, second = await replica.has(2)
    assert set(sockets(first)) & set(sockets(second)) == {door(replica)}


async def test_who_tells_metrics_keeps_no_door_open_and_is_replaced_when_killed(replica: Replica) -> None:
    workers = await replica.has(2)
    [teller] = set(children(replica.child.pid)) - set(workers)
    assert set(sockets(teller)) & set(sockets(replica.child.pid)) == set()
    os.kill(teller, signal.SIGKILL)

    async def is_another_there() -> bool:
        return teller not in children(replica.child.pid)

    await until(is_another_there, within=10)
    assert await replica.has(2) == workers
    [teller] = set(children(replica.child.pid)) - set(workers)
    assert set(sockets(teller)) & set(sockets(replica.child.pid)) == set()


async def test_who_tells_metrics_ends_with_a_parent_that_was_killed(replica: Replica) -> None:
    """Else somebody is told that all is well of workers whom nobody looks after."""
    workers, folder = await replica.has(2), measures_of(replica.port)
    replica.child.kill()
    try:
        await until(lambda: is_silent(replica.metrics_port), within=15)
    finally:
        for each in workers:
            os.kill(each, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)  # they may have been writing


async def test_who_tells_metrics_holds_up_no_stop(replica: Replica) -> None:
    workers = await replica.has(2)
    [teller] = set(children(replica.child.pid)) - set(workers)
    os.kill(teller, signal.SIGSTOP)
    replica.child.terminate()
    await asyncio.to_thread(replica.child.wait, 15)


async def test_all_are_exchanged_without_a_gap_and_nothing_that_they_counted_is_lost(replica: Replica) -> None:
    before = await replica.has(2)
    replica.child.send_signal(signal.SIGHUP)
    asked = 0

    async def are_new() -> bool:
        nonlocal asked
        async with httpx.AsyncClient(trust_env=False) as somebody:  # over a connection of his own, which any may take
            assert (await somebody.get(f"{replica.url}/nowhere")).status_code == 404
        asked += 1
        return not set(before) & set(worker_ids(replica))

    await until(are_new, within=60)
    await replica.has(2)

    async def are_all_told() -> bool:
        return await replica.told(NOT_FOUND) == asked

    await until(are_all_told, within=5)


async def test_signals_make_it_one_more_and_one_less(replica: Replica) -> None:
    await replica.has(2)
    replica.child.send_signal(signal.SIGTTIN)
    await replica.has(3)
    replica.child.send_signal(signal.SIGTTOU)
    await replica.has(2)


async def test_one_that_dies_is_replaced(replica: Replica) -> None:
    victim, other = await replica.has(2)
    os.kill(victim, signal.SIGKILL)

    async def is_gone() -> bool:
        return victim not in worker_ids(replica)

    await until(is_gone, within=10)
    assert other in await replica.has(2)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_who_is_told_to_end_while_workers_begin_ends_them_all_and_says_no_trace(
    database_url: str, tmp_path: Path, told: signal.Signals
) -> None:
    log = tmp_path / "log"
    settings = environment(database_url, NOWHERE, METRICS_PORT=str(free_port()))
    with served(settings, log, workers=4) as (child, _url):

        async def are_beginning() -> bool:
            return len(children(child.pid)) > 2

        await until(are_beginning, within=30)
        begun = children(child.pid)
        for each in (child.pid, *begun):  # as a terminal and systemd do
            with suppress(ProcessLookupError):
                os.kill(each, told)
        assert await asyncio.to_thread(child.wait, 20) == 0
        assert [each for each in begun if is_there(each)] == []
    assert "Traceback" not in log.read_text("utf-8")


async def test_new_workers_show_a_certificate_that_was_renewed(database_url: str, tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    file = signed_for_loopback(authority, tmp_path)
    settings = environment(database_url, NOWHERE)
    with served(settings, tmp_path / "log", "--certificate", str(file), workers=2) as (child, url):

        async def shown() -> str | None:
            with suppress(OSError):
                at = ("127.0.0.1", int(url.rpartition(":")[2]))
                return await asyncio.to_thread(ssl.get_server_certificate, at, timeout=5)
            return None

        old = await until(shown, within=30)
        assert old in file.read_text("utf-8")
        assert signed_for_loopback(authority, tmp_path) == file
        child.send_signal(signal.SIGHUP)

        async def is_renewed() -> bool:
            return (await shown() or old) in file.read_text("utf-8")

        await until(is_renewed, within=30)
        child.terminate()
        assert await asyncio.to_thread(child.wait, 20) == 0


def signed_for_loopback(authority: Authority, folder: Path) -> Path:
    """Have a new certificate written, over the last one, and return where it is."""
    authority.server("127.0.0.1")
    [found] = set(folder.glob("*.pem")) - {authority.certificate}
    return found


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def worker_ids(replica: Replica) -> list[int]:
    """Return those of the children that have the door open."""
    return [each for each in children(replica.child.pid) if door(replica) in sockets(each)]


def door(replica: Replica) -> str:
    """Return the socket that the replica listens on, as those who have it open name it."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]]
    [found] = [row[9] for row in rows if int(row[1].partition(":")[2], 16) == replica.port and row[3] == LISTENS]
    return f"socket:[{found}]"


def sockets(pid: int) -> list[str]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ends: what is left is root's
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(each.readlink()))
    return [each for each in found if each.startswith("socket:")]


def shared_mib(pid: int) -> float:
    """Return how much of a process's own memory, no file's, others have too."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    [shared] = [int(line.split()[1]) for line in lines if line.startswith("Shared_Dirty:")]
    return shared / 1024
