"""`partner doctor`: everything looked at that has to be so, a line each, and a code."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from app.clock import Clock
from app.commands.speaking import AsJson, refusals, say
from app.examining.everything import examine
from app.examining.findings import Finding, Level, failed
from app.settings import Settings
from app.settings_sources import UnreadableFile

Offline = Annotated[
    bool, typer.Option("--offline", help="Ask nothing of the broker and of EGRESS_ADDRESS_URL; the rest all the same.")
]


def doctor(*, offline: Offline = False, as_json: AsJson = False) -> None:
    """Look at settings, database, schema, keys, clock, store of permits, broker and egress address; places no order.

    A line each: ok, warning or failed, and what to do. Ends with code 1 where one has failed.
    """
    found = _found(is_offline=offline)
    has_failed = any(each.level is Level.FAILED for each in found)
    lines = [f"{each.level:<7} {each.check}: {each.sentence}" for each in found]
    say("\n".join(lines), {"ok": not has_failed, "findings": [asdict(each) for each in found]}, as_json=as_json)
    if has_failed:
        raise SystemExit(1)


def _found(*, is_offline: bool) -> list[Finding]:
    try:
        settings = Settings.from_environment()
        return asyncio.run(examine(settings, Clock(), is_offline=is_offline))
    except (UnreadableFile, ValueError) as error:  # pydantic's is a ValueError
        return [failed("settings", sentence) for sentence in refusals(error)]
