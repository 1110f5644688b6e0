"""The real Valkey of tests and drills: it ends with its owner, keeps or forgets as it was told, and can be crashed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from workbench.servers import ServerProblem
from workbench.valkey import Valkey

ROOT = Path(__file__).parents[2]
OWNER = """
import sys, time
from pathlib import Path
from workbench.valkey import Valkey
with Valkey(Path(sys.argv[1]), is_kept=True) as valkey:
    print(valkey.url, flush=True)
    time.sleep(120)
"""
LISTENS = "0A"  # TCP_LISTEN in the kernel's tables


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="vks-") as name:
        yield Path(name) / "vk"


def ask(url: str, *words: str) -> object:
    """Send one command, once."""
    with Redis.from_url(url, decode_responses=True, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        answer: object = client.execute_command(*words)
        return answer


def pid_of(folder: Path) -> int:
    return int((folder / "valkey.pid").read_text("utf-8"))


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def owned(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a process that owns a server, and return it with the server's address."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},  # noqa: TID251  # a child needs it
    )  # fmt: skip
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def test_it_answers_and_refuses_rather_than_forget_what_it_has_no_room_for(folder: Path) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        assert ask(valkey.url, "PING") is True
        assert ask(valkey.url, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize(("is_kept", "found"), [(True, "7"), (False, None)])
def test_a_restart_keeps_what_was_written_only_if_it_is_meant_to(
    folder: Path, is_kept: bool, found: str | None
) -> None:
    with Valkey(folder, is_kept=is_kept) as valkey:
        ask(valkey.url, "SET", "kept", "7")
        valkey.restart()
        assert ask(valkey.url, "GET", "kept") == found
    with Valkey(folder, is_kept=is_kept) as valkey:
        assert ask(valkey.url, "GET", "kept") == found


def test_what_was_answered_survives_a_crash(folder: Path) -> None:
    with Valkey(folder, is_kept=True) as valkey:
        server = pid_of(folder)
        ask(valkey.url, "SET", "kept", "7")
        valkey.kill()
        assert is_gone(server)
        with pytest.raises(NoConnection):
            ask(valkey.url, "GET", "kept")
        valkey.start()
        assert ask(valkey.url, "GET", "kept") == "7"


def test_a_store_that_was_taken_away_comes_back_at_its_address(folder: Path) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        valkey.stop()
        with pytest.raises(NoConnection):
            ask(valkey.url, "PING")
        valkey.start()
        assert ask(valkey.url, "PING") is True


def test_a_frozen_store_takes_questions_and_answers_none_until_it_is_thawed(folder: Path) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        valkey.freeze()
        with pytest.raises(NoAnswer):
            ask(valkey.url, "PING")
        valkey.thaw()
        assert ask(valkey.url, "PING") is True


@pytest.mark.parametrize("way", [Valkey.stop, Valkey.kill, Valkey.restart])
def test_a_frozen_store_can_be_ended_like_any(folder: Path, way: Callable[[Valkey], None]) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        valkey.freeze()
        way(valkey)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_its_owner_and_starts_again_with_its_keys(folder: Path, how: signal.Signals) -> None:
    owner, url = owned(folder)
    ask(url, "SET", "kept", "7")
    server = pid_of(folder)
    owner.send_signal(how)
    owner.wait(10)
    assert owner.stdout is not None
    owner.stdout.close()
    with Valkey(folder, is_kept=True) as valkey:  # which has the lock only when guard and server have let go of it
        assert is_gone(server)
        assert ask(valkey.url, "GET", "kept") == "7"


def test_a_folder_has_one_server_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.valkey._LOCK_PATIENCE", 0.2)
    with (
        Valkey(folder, is_kept=False),
        pytest.raises(ServerProblem, match="in use by another run"),
        Valkey(folder, is_kept=False),
    ):
        pass


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    (folder / "data" / "valkey.sock").mkdir(parents=True)
    with pytest.raises(ServerProblem, match=r"(?s)^Valkey did not start: .*Failed opening Unix socket"):
        Valkey(folder, is_kept=False).__enter__()


def test_nobody_can_reach_it_but_through_our_folder(folder: Path) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        assert ask(valkey.url, "CONFIG", "GET", "port") == {"port": "0"}
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "data" / "valkey.sock").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="it reads Linux's own tables")
def test_nothing_listens_on_tcp(folder: Path) -> None:
    with Valkey(folder, is_kept=False) as valkey:
        process = Path("/proc", str(pid_of(folder)))
        valkey.freeze()  # what it has open stays as it is while we look
        sockets = {str(opened.readlink()) for opened in (process / "fd").iterdir()}
        tables = [(process / "net" / name).read_text("ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
        listening = {f"socket:[{row.split()[9]}]" for table in tables for row in table if row.split()[3] == LISTENS}
        assert any(opened.startswith("socket:") for opened in sockets)
        assert not sockets & listening


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    with Valkey(folder.parent / ("x" * 100) / "vk", is_kept=False) as valkey:
        assert ask(valkey.url, "PING") is True
        socket = Path(valkey.url.removeprefix("unix://"))
        assert len(os.fsencode(socket)) <= 103
        assert socket.parent.stat().st_mode & 0o077 == 0
    assert not socket.parent.exists()


def test_a_worker_has_a_database_of_its_own(valkey_url: str, worker: str) -> None:
    ask(valkey_url, "SET", "worker", worker)
    neighbour = f"{valkey_url.partition('?')[0]}?db=63"
    assert (ask(valkey_url, "GET", "worker"), ask(neighbour, "GET", "worker")) == (worker, None)
