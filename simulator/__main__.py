"""`python -m simulator`: listens, says where in one line, and refuses to stand in for a broker in production."""

import argparse
import os
import socket
import sys

import uvicorn

from simulator.application import create_app
from simulator.state import Config


def main() -> None:
    """Run the simulator until it is told to stop."""
    options = _options()
    if os.environ.get("APP_ENV") == "production":  # noqa: TID251  # another program than app/, with settings of its own
        _refuse("The simulator does not start with APP_ENV=production: it is no broker.")
    config = Config(
        options.app_code, options.api_secret, options.redirect_url, enforces_limits=options.rate_limits
    )  # fmt: skip
    listening = _listen(options.host, options.port)
    host, port = listening.getsockname()[:2]
    server = uvicorn.Server(
        uvicorn.Config(create_app(config), log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    )
    listening.listen(256)
    print(f"simulator listening on http://{host}:{port}", flush=True)  # noqa: T201  # the one line it says
    server.run(sockets=[listening])


def _options() -> argparse.Namespace:
    defaults, environment = Config(), os.environ  # noqa: TID251  # the same
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=9000, help="0 picks a free one")
    parser.add_argument("--app-code", default=environment.get("SIMULATOR_APP_CODE", defaults.app_code))
    parser.add_argument("--api-secret", default=environment.get("SIMULATOR_API_SECRET", defaults.api_secret))
    parser.add_argument("--redirect-url", default=environment.get("SIMULATOR_REDIRECT_URL", defaults.redirect_url))
    parser.add_argument(
        "--rate-limits", type=_is_on, metavar="{on,off}", default=environment.get("SIMULATOR_RATE_LIMITS", "on"),
        help="off: what is over a limit is counted and carried out",
    )  # fmt: skip
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**16:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _is_on(text: str) -> bool:
    if text not in {"on", "off"}:
        raise argparse.ArgumentTypeError("the limits are on or off")
    return text == "on"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # unnamed, asyncio would leave Nagle on
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        _refuse(f"The simulator can't listen on {host}:{port}: {error.strerror}.")
    return listening


def _refuse(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201  # a command speaks
    raise SystemExit(2)


main()
