"""The environment of a child process: settings by their names, and nothing of the developer's own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.configured import API_SECRET, KEY

ROOT = Path(__file__).parents[2]


def inherited() -> dict[str, str]:
    """Return what every child needs of our own environment: where programs are, and how coverage is measured."""
    ours = os.environ  # noqa: TID251  # these are no settings of ours
    return {"PATH": ours["PATH"]} | {name: ours[name] for name in ours if name.startswith("COVERAGE_")}


def environment(
    database_url: str, broker_url: str, public_url: str = "http://127.0.0.1:1", **more: str
) -> dict[str, str]:
    """Return development settings as a shell would give them; `more` names further variables."""
    return (
        inherited()
        | {
            "APP_ENV": "development",
            "DATABASE_URL": database_url,
            "PUBLIC_BASE_URL": public_url,
            "FRONTEND_ORIGINS": public_url,
            "DEFAULT_RETURN_URL": f"{public_url}/portal/",
            "BROKER_BASE_URL": broker_url,
            "BROKER_APP_CODE": "DEMOAPP",
            "BROKER_API_SECRET": API_SECRET,
            "ENCRYPTION_KEYS": KEY,
            "METRICS_PORT": "0",
        }
        | more
    )


def partner(
    *arguments: str, environment: dict[str, str], folder: Path = ROOT / "tests"
) -> subprocess.CompletedProcess[str]:
    """Run one command of the console script to its end."""
    argv = [sys.executable, "-m", "app", *arguments]
    with_path = inherited() | environment | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, env=with_path, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
