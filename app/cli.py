"""`partner`: what an operator types; each command says plainly what it did and fails with a code."""

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.clock import Clock
from app.commands.audit import audit
from app.commands.caps import caps
from app.commands.doctor import doctor
from app.commands.halts import halts
from app.commands.keys import keys
from app.commands.placements import placements
from app.commands.purge import purge
from app.commands.sessions import sessions
from app.commands.speaking import AsJson, fail, read_settings, say
from app.commands.users import users
from app.db import is_held, reason_of
from app.main import description
from app.observability import configure_logging
from app.problems import TemporarilyUnavailable
from app.resources import NotReady, open_resources
from app.schema import migrate_schema
from app.server import CannotListen, run_server
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
cli.add_typer(keys, name="keys")
cli.add_typer(audit, name="audit")
cli.add_typer(caps, name="caps")
cli.add_typer(halts, name="halt")
cli.add_typer(placements, name="placements")
cli.add_typer(sessions, name="sessions")
cli.add_typer(users, name="users")
cli.command()(purge)
cli.command()(doctor)


def main() -> None:
    """Run the command line; the console script's entry."""
    configure_logging(level="CRITICAL", log_format="json")  # a command speaks in sentences; `serve` logs once it serves
    cli()


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each has its own database pool.")] = 1,
    certificate: Annotated[Path | None, typer.Option(help="Certificate chain (PEM), where no proxy does TLS.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
) -> None:
    """Run the API alone, by environment, as production does."""
    _check_certificate(certificate, private_key)
    settings = read_settings()
    _check_start(settings)
    try:
        run_server(settings, host=host, port=port, workers=workers, certificate=certificate, private_key=private_key)
    except CannotListen as error:
        fail(str(error))


@cli.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database's schema up to this release; several may run it at once, one works and the others wait."""
    settings = read_settings()
    try:
        before, after = migrate_schema(settings.direct_database_url)
    except TemporarilyUnavailable as problem:
        if is_held(problem):
            fail(
                "Somebody holds a table that has to be changed, and did not let go of it for five seconds. Nothing was "
                "changed, and nobody waited longer: run it again when that long transaction has ended."
            )
        fail(f"{reason_of(problem)} Check DATABASE_URL.")
    sentence = f"The schema is at {after}." if before == after else f"Migrated from {before or 'nothing'} to {after}."
    say(sentence, {"before": before, "after": after}, as_json=as_json)


@cli.command()
def openapi(*, as_json: AsJson = True) -> None:
    """Print the API's description in JSON; needs no database and no settings."""
    say("", description(), as_json=as_json)


@cli.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulator(context: typer.Context) -> None:
    """Run the simulated broker, another program; `partner simulator --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *context.args])  # noqa: S606  # it takes our place


def _check_start(settings: Settings) -> None:
    """Open everything once, so that what is missing is said in one sentence instead of a trace."""

    async def check() -> None:
        async with open_resources(settings, Clock()):
            pass

    try:
        asyncio.run(check())
    except (NotReady, ValueError) as error:
        fail(str(error))
    except TemporarilyUnavailable as problem:
        fail(f"{reason_of(problem)} Check DATABASE_URL.")


def _check_certificate(certificate: Path | None, private_key: Path | None) -> None:
    if certificate is None and private_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate or "", private_key)
    except OSError as error:  # ssl.SSLError is one
        fail(f"The certificate or its key can't be used: {error.strerror or error}.")
