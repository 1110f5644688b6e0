"""The server alone: what `partner serve` turns into once everything is checked.

A command line and what it takes to say what is wrong are worth fifteen megabytes, in each worker.
"""

import sys
from pathlib import Path

from app.server import CannotListen, run_server
from app.settings import Settings

_INTERRUPTED = 130  # as a shell says of a program that Ctrl-C has ended


def main(host: str, port: str, workers: str, *tls: str) -> None:
    """Serve until told to stop; `tls` is none, or the paths of a certificate and its key, either of them empty."""
    certificate, private_key = (Path(each) if each else None for each in tls or ("", ""))
    try:
        run_server(
            Settings.from_environment(),
            host=host,
            port=int(port),
            workers=int(workers),
            certificate=certificate,
            private_key=private_key,
        )
    except CannotListen as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main(*sys.argv[1:])
