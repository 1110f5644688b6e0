"""`partner serve` as a process of its own, by its id, to be told things by signals."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

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
