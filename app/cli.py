"""`partner`: what an operator types; each command says plainly what it did and fails with a code."""

import asyncio
import base64
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from app.clock import Clock, random_bytes
from app.db import reason_of
from app.main import description
from app.observability import configure_logging
from app.problems import TemporarilyUnavailable
from app.resources import NotReady, open_resources
from app.schema import migrate_schema
from app.server import CannotListen, run_server
from app.settings import Settings, UnreadableFile
from app.settings_parsing import KEY_ID, KEY_LENGTH

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
keys = typer.Typer(no_args_is_help=True, help="The keys that seal what is stored.")
cli.add_typer(keys, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


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
    settings = _settings()
    _check_start(settings)
    try:
        run_server(settings, host=host, port=port, workers=workers, certificate=certificate, private_key=private_key)
    except CannotListen as error:
        _fail(str(error))


@cli.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database's schema up to this release; several may run it at once, one works and the others wait."""
    settings = _settings()
    try:
        before, after = migrate_schema(settings.direct_database_url)
    except TemporarilyUnavailable as problem:
        _fail(f"{reason_of(problem)} Check DATABASE_URL.")
    sentence = f"The schema is at {after}." if before == after else f"Migrated from {before or 'nothing'} to {after}."
    _say(sentence, {"before": before, "after": after}, as_json=as_json)


@cli.command()
def openapi(*, as_json: AsJson = True) -> None:
    """Print the API's description in JSON; needs no database and no settings."""
    _say("", description(), as_json=as_json)


@cli.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulator(context: typer.Context) -> None:
    """Run the simulated broker, another program; `partner simulator --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *context.args])  # noqa: S606  # it takes our place


@keys.command()
def generate(
    name: Annotated[str, typer.Option("--id", help="What the key is called in the ring.")] = "k1",
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key for ENCRYPTION_KEYS; keep it where secrets are kept."""
    if not KEY_ID.fullmatch(name):
        _fail("A key's id has one to thirty-two letters, digits, - and _.")
    encoded = base64.b64encode(random_bytes(KEY_LENGTH)).decode()
    _say(f"{name}:{encoded}", {"id": name, "key": f"{name}:{encoded}"}, as_json=as_json)


def _settings() -> Settings:
    try:
        return Settings.from_environment()
    except UnreadableFile as error:
        _fail(str(error))
    except ValidationError as error:
        for each in error.errors(include_input=False, include_context=False):
            name = ".".join(str(part) for part in each["loc"][:1]).upper()
            message = each["msg"].removeprefix("Value error, ")
            print(f"{name}: {message}" if name else message, file=sys.stderr)  # noqa: T201  # a command speaks
        _fail("The settings are not usable; docs/settings.md explains each.")


def _check_start(settings: Settings) -> None:
    """Open everything once, so that what is missing is said in one sentence instead of a trace."""

    async def check() -> None:
        async with open_resources(settings, Clock()):
            pass

    try:
        asyncio.run(check())
    except (NotReady, ValueError) as error:
        _fail(str(error))
    except TemporarilyUnavailable as problem:
        _fail(f"{reason_of(problem)} Check DATABASE_URL.")


def _check_certificate(certificate: Path | None, private_key: Path | None) -> None:
    if certificate is None and private_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate or "", private_key)
    except OSError as error:  # ssl.SSLError is one
        _fail(f"The certificate or its key can't be used: {error.strerror or error}.")


def _say(sentence: str, facts: object, *, as_json: bool) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else sentence)  # noqa: T201  # the same


def _fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)  # noqa: T201  # the same
    raise SystemExit(1)
