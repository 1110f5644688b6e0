"""The dependency audit: a known vulnerability stops the check, a database out of reach does not, and is shouted."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override

from workbench.children import free_port

ROOT = Path(__file__).parents[2]
LOCK = f"""\
idna==3.10 \\
    --hash=sha256:{"0" * 64}
sniffio==1.3.1 ; sys_platform != 'nowhere' \\
    --hash=sha256:{"1" * 64}
"""
KNOWN = {
    "vulns": [
        {
            "id": "PYSEC-0000-1",
            "summary": "made up",
            "affected": [
                {
                    "package": {"name": "idna", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.11"}]}],
                }
            ],
        }
    ]
}


@contextmanager
def database(known: dict[str, Any], *, status: int = 200, gate: threading.Event | None = None) -> Iterator[str]:
    """Run a vulnerability database that knows something of single packages; with a `gate` it answers late."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if gate is not None:
                gate.wait(20)
            answer = json.dumps(known.get(asked["package"]["name"], {})).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            if gate is not None:
                gate.set()
            server.shutdown()


def audited(folder: Path, url: str, lock: str = LOCK, patience: str = "30") -> subprocess.CompletedProcess[str]:
    (folder / "some.lock").write_text(lock, "utf-8")
    argv = [
        sys.executable, "-m", "workbench.auditing", "--lock", str(folder / "some.lock"), "--osv-url", url,
        "--patience", patience,
    ]  # fmt: skip
    given = {"PATH": os.defpath, "HOME": str(folder)}
    return subprocess.run(argv, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=60)


def test_a_known_vulnerability_fails_the_check_and_is_named(tmp_path: Path) -> None:
    with database({"idna": KNOWN}) as url:
        done = audited(tmp_path, url)
    assert (done.returncode, done.stderr) == (1, "VULNERABLE: idna 3.10: PYSEC-0000-1, mended in 3.11\n")


def test_where_nothing_is_known_the_check_goes_on(tmp_path: Path) -> None:
    with database({}) as url:
        done = audited(tmp_path, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Nothing is known against any locked package.\n"


def unmade(done: subprocess.CompletedProcess[str]) -> str:
    """Return why an audit could not be made; it is one line, and stops nobody."""
    assert (done.returncode, done.stdout) == (0, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("THE DEPENDENCY AUDIT COULD NOT BE MADE: ")
    return line


def test_without_a_database_it_is_shouted_that_nobody_knows(tmp_path: Path) -> None:
    assert "Connection refused" in unmade(audited(tmp_path, f"http://127.0.0.1:{free_port()}/v1/query"))


def test_a_database_that_fails_has_not_said_that_nothing_is_known(tmp_path: Path) -> None:
    with database({}, status=503) as url:
        unmade(audited(tmp_path, url))


def test_a_database_that_keeps_silent_is_not_waited_for(tmp_path: Path) -> None:
    with database({}, gate=threading.Event()) as url:
        assert "not done after 3 seconds" in unmade(audited(tmp_path, url, patience="3"))


def test_an_empty_lock_is_no_clean_one(tmp_path: Path) -> None:
    with database({}) as url:
        unmade(audited(tmp_path, url, lock=""))
