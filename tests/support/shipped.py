"""`partner serve` as a process of its own, by its id, to be told things by signals."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.metrics.workers import PREFIX, parent_folder
from tests.support.environment import ROOT, inherited
from workbench.children import free_port


@contextmanager
def served(
    settings: dict[str, str], log: Path, *options: str, workers: int
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run it, and give it and its address; it is not ready yet."""
    port = free_port()
    argv = [sys.executable, "-m", "app", "serve", "--port", str(port), "--workers", str(workers), *options]
    with log.open("wb") as out:
        child = subprocess.Popen(
            argv, cwd=ROOT / "tests", env=inherited() | settings | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=out
        )
        try:
            yield child, f"http://127.0.0.1:{port}"
        finally:
            child.kill()
            child.wait()


async def is_ready(client: httpx.AsyncClient, url: str) -> bool:
    """Say whether somebody answers there, and is able."""
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def measures_of(port: int) -> Path:
    """Return the folder into which the workers behind a port write what they count."""
    [found] = [
        each
        for each in Path(parent_folder()).glob(f"{PREFIX}*")
        if any(str(port) in _said_at_start(pid) for pid in writers(each))
    ]
    return found


def writers(folder: Path) -> list[int]:
    """Return who has written into such a folder and was not forgotten since."""
    return [int(each.name.partition("-")[0]) for each in folder.iterdir() if not each.suffix]


def _said_at_start(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
    except FileNotFoundError:  # he has ended
        return []
