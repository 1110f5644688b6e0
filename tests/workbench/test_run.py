"""`./run` and the demo: one command does it all, ends all of it, and says in a sentence what is missing."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from workbench.children import Child, ChildProblem

ROOT = Path(__file__).parents[2]
PATH = os.environ["PATH"]  # noqa: TID251  # children need it


def demo(*options: str, home: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "workbench.demo", *options]
    given = {"PATH": PATH, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_demo_takes_the_whole_journey_once(tmp_path: Path) -> None:
    out, err = demo("--once", home=tmp_path).communicate(timeout=90)
    assert err == ""
    steps = re.findall(r"^(sign in|profile|funds|holdings|positions|orders|log out) +\S", out, re.MULTILINE)
    assert steps == ["sign in", "profile", "funds", "holdings", "positions", "orders", "log out"]
    assert "Asha Menon" in out
    assert out.rstrip().endswith("The whole journey works.")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stays_until_it_is_told_to_end_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    with demo(home=tmp_path) as running:
        assert running.stdout is not None
        shown = ""
        while "Ctrl-C" not in shown:
            line = running.stdout.readline()
            assert line, running.stderr.read() if running.stderr else ""
            shown += line
        places = re.findall(r"http://localhost:(\d+)/", shown)
        assert httpx.get(f"http://127.0.0.1:{places[0]}/readyz").status_code == 200
        running.send_signal(how)
        assert running.wait(30) == 0
        assert "the data is kept" in running.stdout.read()
    for port in {int(place) for place in places}:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        running = demo("--port", port, home=tmp_path)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.strip() == f"Port {port} is taken; name another with --port."


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = ["/bin/sh", str(ROOT / "run"), *arguments]
    given = {"PATH": PATH} | environment
    return subprocess.run(argv, env=given, capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_every_command() -> None:
    said = run("help").stdout
    for command in ("demo", "test", "check", "fix", "serve", "migrate", "help"):
        assert re.search(rf"^  {command} ", said, re.MULTILINE), command


def test_an_unknown_command_is_said_in_one_sentence() -> None:
    done = run("dmeo")
    assert (done.returncode, done.stderr) == (1, "./run has no command 'dmeo'; ./run help lists them.\n")


def test_an_old_python_is_said_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n", "utf-8")
    old.chmod(0o755)
    for tool in ("dirname", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/false")
    done = run("help", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("./run needs Python 3.11 to 3.14 and found Python 3.9.2")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_named_python_that_does_not_fit_is_not_passed_over() -> None:
    done = run("help", PYTHON="/nowhere/python")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "found no /nowhere/python" in done.stderr


@pytest.mark.parametrize("port", ["0", "99999", "-1", "x"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    running = demo(f"--port={port}", home=tmp_path)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert err.strip().endswith("a port is a number from 1 to 65535")


def broken_checkout(tmp_path: Path, *, index: str = "http://127.0.0.1:1/simple") -> tuple[Path, dict[str, str]]:
    """Copy what `./run` needs to make its environment, with an index that is not there."""
    for name in ("run", "pyproject.toml", "requirements-dev.lock", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("workbench", "app", "simulator", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    given = {"PATH": PATH, "HOME": str(tmp_path), "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull,
             "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}  # fmt: skip
    return tmp_path, given


def test_an_index_out_of_reach_is_said_in_one_sentence(tmp_path: Path) -> None:
    checkout, given = broken_checkout(tmp_path)
    done = subprocess.run(
        ["/bin/sh", "run", "demo", "--once"], cwd=checkout, env=given, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "The locked packages could not be installed: the package index can't be reached or lacks a package; "
        "check the network or pip's settings."
    )
    assert not (checkout / ".venv" / ".made-from").exists()


def a_child(source: str, log: Path, *, is_ready: bool) -> Child:
    argv = [sys.executable, "-c", source]
    return Child("the child", argv, environment={"PATH": PATH}, log=log, is_ready=lambda: is_ready)


def test_a_child_that_does_not_come_up_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ChildProblem, match="the child did not start: no such luck"):
        a_child("raise SystemExit('no such luck')", tmp_path / "log", is_ready=False).start()


def test_a_child_that_hears_nothing_is_ended_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.children._GRACE", 1.0)
    deaf = a_child(
        "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)", tmp_path / "log", is_ready=True
    )
    deaf.start()
    deaf.stop()
    assert not deaf.is_running()


def test_a_child_runs_where_no_dotenv_of_the_checkout_is(tmp_path: Path) -> None:
    child = a_child(
        "import os; print(os.getcwd(), flush=True); import time; time.sleep(30)", tmp_path / "log", is_ready=True
    )
    with child:
        give_up_at = time.monotonic() + 10
        while not child.output() and time.monotonic() < give_up_at:
            time.sleep(0.02)
        assert Path(child.output().strip()) == tmp_path
