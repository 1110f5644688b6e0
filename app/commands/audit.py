"""`partner audit`: the ledger judged, and handed out for a period."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, TextIO

import typer

from app.clock import IST
from app.commands.opening import CannotDo, Desk, run
from app.commands.speaking import AsJson, complain, counted, fail, say
from app.safeguards.audit_reading import export, heads, snapshot, told
from app.safeguards.audit_verifying import NotRecorded, RecordedHead, Verdict, recorded_heads, verify

audit = typer.Typer(no_args_is_help=True, help="The ledger: is it whole, and what is in it.")

Heads = Annotated[
    Path | None,
    typer.Option("--heads", metavar="FILE", help="Heads recorded outside: an export, or the service's log (JSON)."),
]
Since = Annotated[str, typer.Option("--from", metavar="DAY", help="A day in India, or a date with time.")]
Until = Annotated[str, typer.Option("--to", metavar="DAY", help="The last day, or a date with time before which.")]
Output = Annotated[Path | None, typer.Option(metavar="FILE", help="A new file, instead of standard output.")]


@audit.command("verify")
def verify_ledger(*, recorded: Heads = None, as_json: AsJson = False) -> None:
    """Read the whole ledger and name, for each chain, the first row that is not as it was written."""
    known = _recorded(recorded) if recorded else set()

    async def judge(desk: Desk) -> Verdict:
        return await verify(desk.db, desk.ring, known)

    verdict = run(judge)
    read = f"{counted(verdict.rows, 'row')} in {counted(verdict.chains, 'chain')}"
    against = f", and {counted(len(known), 'head')} recorded outside found in it" if known else ""
    if not verdict.findings:
        say(f"The ledger is whole: {read}{against}.", asdict(verdict), as_json=as_json)
        return
    if as_json:
        say("", asdict(verdict), as_json=True)
    for finding in verdict.findings:
        complain(finding.sentence)
    fail(f"The ledger is not whole: {counted(len(verdict.findings), 'finding')} in {read}.")


@audit.command("export")
def export_ledger(*, since: Since, until: Until, output: Output = None, as_json: AsJson = False) -> None:
    """Write the rows of a period as JSON lines, and behind them the head of every chain."""
    first, end = _moment(since, "--from", at_its_end=False), _moment(until, "--to", at_its_end=True)
    if end <= first:
        raise typer.BadParameter("The period ends before it begins.")
    if output is None:
        run(lambda desk: _write(desk, first, end, sys.stdout))
        return
    rows, chains = _into_file(output, lambda out: run(lambda desk: _write(desk, first, end, out)))
    sentence = f"{output} has {counted(rows, 'row')} and {counted(chains, 'head')}."
    say(sentence, {"rows": rows, "heads": chains}, as_json=as_json)


def _into_file(output: Path, fill: Callable[[TextIO], tuple[int, int]]) -> tuple[int, int]:
    """Fill a new file, which bears its name only once it is complete."""
    if output.exists():
        fail(f"{output} is there already; an export overwrites nothing.")
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as out:
            written = fill(out)
        unfinished.rename(output)
    except OSError as error:
        fail(f"{output} can't be written: {error.strerror or error}.")
    return written


async def _write(desk: Desk, first: datetime, end: datetime, out: TextIO) -> tuple[int, int]:
    """Write rows and heads of one and the same moment; return how many there were of each."""
    rows = chains = 0
    async with snapshot(desk.db) as tx:
        async for row in export(tx, first, end):
            _put(out, row)
            rows += 1
        async for head in heads(tx):
            _put(out, {"head": told(head)})
            chains += 1
    with _told_as_unwritable():
        out.flush()
    return rows, chains


def _put(out: TextIO, facts: object) -> None:
    with _told_as_unwritable():
        out.write(json.dumps(facts, ensure_ascii=False) + "\n")


@contextmanager
def _told_as_unwritable() -> Iterator[None]:
    """Tell a full disk apart from a database that is gone; within a transaction it would pass for one."""
    try:
        yield
    except OSError as error:
        raise CannotDo(f"The export can't be written: {error.strerror or error}.") from error


def _recorded(path: Path) -> set[RecordedHead]:
    try:
        with path.open(encoding="utf-8") as lines:
            return recorded_heads(lines)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}.")
    except NotRecorded as error:
        fail(f"{path}: {error}")


def _moment(given: str, option: str, *, at_its_end: bool) -> datetime:
    """Return the moment that is meant: where a day is, its beginning in India or its end."""
    try:
        day = date.fromisoformat(given)
        return datetime.combine(day, time(), IST) + timedelta(days=at_its_end)
    except (ValueError, OverflowError):
        pass  # a date with time, or nothing that is one
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise typer.BadParameter(f"{option} wants 2026-11-23 or 2026-11-23T09:15:00+05:30.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=IST)
