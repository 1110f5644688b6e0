"""What a process that serves has loaded: nothing that only commands, documents or other settings need."""

import subprocess
import sys

import pytest

from tests.support.environment import ROOT, environment

IDLE = (
    "rich", "pygments", "attr", "markdown_it",  # for structlog's coloured traces
    "alembic", "mako",  # for `partner migrate`
    "prometheus_client",  # for who tells metrics
    "redis",  # where RATE_LIMIT_URL is set
    "httpx", "httpcore", "aiohttp",  # for tests and the demo
    "app.openapi_examples",  # where the API's description is asked for
)  # fmt: skip
OF_COMMANDS = ("typer", "app.cli", "app.commands", "app.examining", "app.schema")


@pytest.mark.parametrize(
    ("code", "idle"),
    [
        ("from app.server import app_from_environment; app_from_environment()", IDLE + OF_COMMANDS),
        ("import app.cli", IDLE),  # from which workers are forked
    ],
)
def test_nothing_is_loaded_that_a_server_has_no_use_for(code: str, idle: tuple[str, ...]) -> None:
    asked = f"{code}; import sys; print(*sys.modules)"
    given = environment("postgresql:///none", "http://127.0.0.1:1/") | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=given, cwd=ROOT / "tests", capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "app.server" in loaded
    assert [each for each in idle if each in loaded] == []
