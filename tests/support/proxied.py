"""The shipped nginx before replicas on this machine: its configuration as it is, but for where the replicas are."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.environment import inherited
from workbench.children import ROOT, Child, free_port, is_free

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


def need_nginx() -> str:
    """Return where nginx is; a test that can't have it is skipped and says so."""
    if NGINX is None:
        pytest.skip("NOT TESTED: there is no nginx on this machine (apt-get install nginx-light)")
    return NGINX


def write_configuration(folder: Path, port: int, replicas: Sequence[int]) -> Path:
    """Write the shipped configuration for a port and the replicas' ports; return its path."""
    shipped = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    assert shipped.count("listen 8080;") == shipped.count("/dev/stdout") == 1
    (folder / "nginx.conf").write_text(
        shipped.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/dev/stdout", "access.log"), "utf-8"
    )
    upstreams = (ROOT / "deploy" / "nginx-replicas.conf").read_text("utf-8")
    upstreams = re.sub(r"^resolver .*\n", "", upstreams, flags=re.MULTILINE)  # older releases can't in upstreams

    def servers(found: re.Match[str]) -> str:
        return "".join(f"server 127.0.0.1:{each} {found[1]};" for each in replicas)

    upstreams, count = re.subn(r"server backend:8000 resolve ([^;]*);", servers, upstreams)
    assert count == 3
    (folder / "nginx-replicas.conf").write_text(upstreams, "utf-8")
    return folder / "nginx.conf"


@contextmanager
def proxied(folder: Path, replicas: Sequence[int], port: int | None = None) -> Iterator[str]:
    """Run nginx before these ports; gives its URL. Its logs are `access.log` and `errors.log` in the folder."""
    nginx, port = need_nginx(), port or free_port()
    folder.mkdir(exist_ok=True)
    path = write_configuration(folder, port, replicas)
    argv = [nginx, "-p", str(folder), "-c", str(path), "-g", "daemon off;"]

    def is_up() -> bool:
        return not is_free(port)

    with Child("nginx", argv, environment=inherited(), log=folder / "errors.log", is_ready=is_up):
        yield f"http://127.0.0.1:{port}"
