"""How commands speak: plain sentences for a person, JSON for a machine, one sentence and a code for a failure."""

import json
import sys
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from app.settings import Settings
from app.settings_sources import UnreadableFile

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


def say(sentence: str, facts: object, *, as_json: bool) -> None:
    """Print the sentence, or the facts behind it."""
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else sentence)  # noqa: T201  # a command speaks


def counted(number: int, thing: str) -> str:
    """Return "1 row" or "2 rows"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def complain(sentence: str) -> None:
    """Print a sentence where it mixes with no output."""
    print(sentence, file=sys.stderr)  # noqa: T201  # the same


def fail(sentence: str) -> NoReturn:
    """End the command with a sentence and the code of a failure."""
    complain(sentence)
    raise SystemExit(1)


def read_settings() -> Settings:
    """Return the settings, or end the command and name what is wrong with them."""
    try:
        return Settings.from_environment()
    except UnreadableFile as error:
        fail(str(error))
    except ValidationError as error:
        for sentence in refusals(error):
            complain(sentence)
        fail("The settings are not usable; docs/settings.md explains each.")


def refusals(error: Exception) -> list[str]:
    """Return what is wrong with settings, a sentence each, without any value."""
    if not isinstance(error, ValidationError):
        return [str(error)]
    told = []
    for each in error.errors(include_input=False, include_context=False):
        name = ".".join(str(part) for part in each["loc"][:1]).upper()
        message = each["msg"].removeprefix("Value error, ")
        told.append(f"{name}: {message}" if name else message)
    return told
