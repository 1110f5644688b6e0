"""The real Postgres of the demo and the tests: it ends with its owner, however that dies, and keeps its rows."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from workbench.servers import Postgres, ServerProblem

ROOT = Path(__file__).parents[2]
OWNER = """
import sys, time
from pathlib import Path
from workbench.servers import Postgres
with Postgres(Path(sys.argv[1]), durable=True) as postgres:
    print(postgres.url(), flush=True)
    time.sleep(120)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a short folder that the server's own account can reach."""
    with TemporaryDirectory(prefix="pgs-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path / "pg"


def rows(url: str, statement: str) -> list[int]:
    async def fetch() -> list[int]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def owned(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a process that owns a server, and return it with the server's address."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},  # noqa: TID251  # a child needs it
    )  # fmt: skip
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    with Postgres(folder, durable=True) as postgres:
        rows(postgres.url(), "CREATE TABLE kept (n int)")
        rows(postgres.url(), "INSERT INTO kept VALUES (7)")
    with Postgres(folder, durable=True) as postgres:
        assert rows(postgres.url(), "SELECT n FROM kept") == [7]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_its_owner_and_starts_again_with_its_rows(folder: Path, how: signal.Signals) -> None:
    owner, url = owned(folder)
    rows(url, "CREATE TABLE kept (n int)")
    rows(url, "INSERT INTO kept VALUES (7)")
    server = int((folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])
    owner.send_signal(how)
    owner.wait(10)
    give_up_at = time.monotonic() + 20
    while not is_gone(server) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert is_gone(server)
    assert owner.stdout is not None
    owner.stdout.close()
    with Postgres(folder, durable=True) as postgres:
        assert rows(postgres.url(), "SELECT n FROM kept") == [7]


def test_a_folder_has_one_server_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.servers._LOCK_PATIENCE", 0.2)
    with (
        Postgres(folder, durable=False),
        pytest.raises(ServerProblem, match="in use by another run"),
        Postgres(folder, durable=False),
    ):
        pass


def test_nobody_can_reach_it_but_through_our_folder(folder: Path) -> None:
    with Postgres(folder, durable=False) as postgres:
        assert rows(postgres.url(), "SELECT 1 WHERE current_setting('listen_addresses') = ''") == [1]
        assert (folder / "data").stat().st_mode & 0o077 == 0


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    long = folder.parent / ("x" * 100) / "pg"
    long.parent.mkdir()
    long.parent.chmod(0o711)
    with Postgres(long, durable=False) as postgres:
        assert rows(postgres.url(), "SELECT 1") == [1]
        socket_folder = Path(postgres.url().partition("host=")[2])
    assert not socket_folder.exists()
