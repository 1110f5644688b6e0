"""Load from outside Python: one slice of wrk, bounded in time, and what it found."""

import json
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_SCRIPT = Path(__file__).with_name("load.lua")
_SPARE = 20.0  # seconds that wrk may take to begin and to end


class LoadProblem(Exception):  # what a person is told
    """A slice measured something else than answers."""


@dataclass(frozen=True)
class Ask:
    """What is asked again and again; each request in turn with one of the cookies, where there are any.

    With `has_key` every request has an `Idempotency-Key` of its own.
    """

    path: str
    cookies: Sequence[str] = ()
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    has_key: bool = False


class Slice(NamedTuple):
    """What a slice of time was like: answers, seconds, and of their waits the median and the 99th percentile in ms."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def put(ask: Ask, port: int, *, clients: int, seconds: float, folder: Path) -> Slice:
    """Let so many clients ask for so many seconds (at least one); raises `LoadProblem` unless all was answered well."""
    cookies, body = folder / "cookies", folder / "body"
    cookies.write_text("\n".join(ask.cookies or ["none=1"]), "utf-8")
    body.write_text(ask.body or "", "utf-8")
    prefix = f"{secrets.token_hex(8)}-" if ask.has_key else "-"
    argv = [
        shutil.which("wrk") or "wrk", "-t1", f"-c{clients}", f"-d{max(round(seconds), 1)}s", "--timeout", "15s",
        "-s", str(_SCRIPT), f"http://127.0.0.1:{port}", "--",
        ask.method, ask.path, str(cookies), prefix, str(body) if ask.body else "-",
        *(f"{name}={value}" for name, value in ask.headers.items()),
    ]  # fmt: skip
    patience = seconds + _SPARE
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=patience)  # noqa: S603  # looked up
    complaint = f"{done.stderr.strip()} (exit code {done.returncode})"
    return read(done.stdout, f"{ask.method} {ask.path}", complaint)


def read(said: str, what: str, complaint: str = "") -> Slice:
    """Understand wrk's last line; raises `LoadProblem`."""
    line = next((each for each in reversed(said.splitlines()) if each.startswith("{")), None)
    if line is None:
        raise LoadProblem(f"wrk did not measure {what}: {said.strip()[-300:]} {complaint}")
    found = json.loads(line)
    if not found["requests"] or found["refused"] or found["broken"]:
        raise LoadProblem(
            f"{what} was asked {found['requests']} times: {found['refused']} refused, {found['broken']} broken."
        )
    return Slice(found["requests"], found["microseconds"] / 1e6, found["p50"] / 1000, found["p99"] / 1000)
