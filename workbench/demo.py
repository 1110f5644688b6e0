"""`./run demo`: a real Postgres, the simulated broker and the backend, started together and ended together."""

import argparse
import base64
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.children import ROOT, Child, ChildProblem, backend, free_port, is_free, simulator
from workbench.journey import StepFailed, walk
from workbench.servers import Postgres, ServerProblem

_PORT, _SIMULATOR_PORT = 8000, 9000
_APP_CODE, _API_SECRET = "DEMOAPP", "simulator-api-secret"


class Ended(BaseException):
    """Somebody has told us to stop; no error."""


@dataclass(frozen=True)
class Places:
    """Where a demo listens and where it keeps things."""

    port: int
    simulator_port: int
    state: Path

    @property
    def base_url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def simulator_url(self) -> str:
        return f"http://localhost:{self.simulator_port}"


def main() -> None:
    """Run the demo until it is ended, or once through."""
    options = _options()
    for wanted in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(wanted, _end)
    try:
        with _running(options) as (places, children):
            _walk_once(places) if options.once else _stay(places, children)
    except (ServerProblem, ChildProblem, StepFailed) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(
            f"{error.strerror or error}: {error.filename or 'the demo needs a folder it can write to'}", file=sys.stderr
        )
        raise SystemExit(1) from None
    except Ended:
        print("\nEverything is stopped; the data is kept. The simulator has forgotten who was logged in at it.")


@contextmanager
def _running(options: argparse.Namespace) -> Iterator[tuple[Places, list[Child]]]:
    """Start everything in order and stop it in the other."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory())) if options.once else _state_folder()
        state.chmod(0o711 if os.geteuid() == 0 else 0o700)  # root's server has an account of its own
        logs = state / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        postgres = stack.enter_context(Postgres(state / "postgres", durable=not options.once))
        places = _places(options, state)
        environment = _environment(places, postgres.url())
        _migrate(environment, logs)
        children = [
            simulator(places.simulator_port, environment=environment, log=logs / "simulator.log"),
            backend(places.port, environment=environment, log=logs / "backend.log"),
        ]
        for child in children:
            stack.enter_context(child)
        yield places, children


def _stay(places: Places, children: list[Child]) -> None:
    print(
        f"""
  Portal      {places.base_url}/portal/      sign in as any investor; the password is filled in
  API         {places.base_url}/docs
  Simulator   {places.simulator_url}/_simulator/      break the broker here
  Data, logs  {places.state}      delete the folder to begin anew

Ctrl-C ends everything.""",
        flush=True,
    )
    while all(child.is_running() for child in children):
        time.sleep(0.2)
    fallen = next(child for child in children if not child.is_running())
    raise ChildProblem(f"{fallen.name} ended by itself: {fallen.last_words()}")


def _walk_once(places: Places) -> None:
    walk(places.base_url, lambda line: print(line, flush=True))
    print("The whole journey works.")


def _migrate(environment: dict[str, str], folder: Path) -> None:
    argv = [sys.executable, "-m", "app", "migrate"]
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildProblem(f"The database could not be migrated: {(done.stderr or done.stdout).strip()}")
    print(done.stdout.strip(), flush=True)


def _environment(places: Places, database_url: str) -> dict[str, str]:
    """Return the settings of the demo; what the caller's environment says of the service does not count."""
    outer = os.environ  # noqa: TID251  # what children need of it is handed on, no setting is read
    kept = {name: outer[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in outer}
    return kept | {
        "APP_ENV": "development",
        "DATABASE_URL": database_url,
        "PUBLIC_BASE_URL": places.base_url,
        "FRONTEND_ORIGINS": places.base_url,
        "DEFAULT_RETURN_URL": f"{places.base_url}/portal/",
        "BROKER_BASE_URL": f"{places.simulator_url}/",
        "BROKER_APP_CODE": _APP_CODE,
        "BROKER_API_SECRET": _API_SECRET,
        "ENCRYPTION_KEYS": _kept_key(places.state),
        "METRICS_PORT": "0",  # two demos side by side would want the same one
        "SIMULATOR_APP_CODE": _APP_CODE,
        "SIMULATOR_API_SECRET": _API_SECRET,
        "SIMULATOR_REDIRECT_URL": f"{places.base_url}/sso/callback",
        "PYTHONUNBUFFERED": "1",
    }


def _kept_key(state: Path) -> str:
    """Return the demo's key, made once, so that a second run can open what the first has sealed."""
    path = state / "encryption-keys"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"demo:{base64.b64encode(secrets.token_bytes(32)).decode()}", "utf-8")
    return path.read_text("utf-8")


def _state_folder() -> Path:
    """Return where data is kept: in the checkout, or as root where the server's own account can reach it."""
    if os.geteuid() != 0:
        folder = ROOT / ".state"
    else:
        folder = Path("/var/lib/gopocket-partner-demo") / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _places(options: argparse.Namespace, state: Path) -> Places:
    if options.port is not None and not is_free(options.port):
        raise ChildProblem(f"Port {options.port} is taken; name another with --port.")
    if options.once:
        return Places(options.port or free_port(), free_port(), state)
    port = options.port or _next_free(_PORT)
    return Places(port, _next_free(_SIMULATOR_PORT, but=port), state)


def _next_free(wanted: int, *, but: int = 0) -> int:
    port = next((port for port in range(wanted, wanted + 100) if port != but and is_free(port)), None)
    if port is None:
        raise ChildProblem(f"No port from {wanted} to {wanted + 99} is free.")
    if port != wanted:
        print(f"Port {wanted} is taken, so it is {port}.")
    return port


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="take the whole journey without a browser, then end")
    parser.add_argument("--port", type=_port, help=f"where the backend listens (default {_PORT}, or the next free one)")
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


def _end(_signal: int, _frame: object) -> None:
    raise Ended


if __name__ == "__main__":
    main()
