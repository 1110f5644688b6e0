"""`partner purge`: what retention no longer allows is deleted, while the service runs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from app.commands.opening import Desk, run
from app.commands.options import Actor, Reason
from app.commands.speaking import AsJson, counted, say
from app.safeguards import purging
from app.safeguards.audit import SYSTEM, Fact, moment
from app.safeguards.purging import Counts, bounds_now, count_overdue

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")]

_THINGS = {
    "sessions": ("sessions", "session"),
    "broker_sessions": ("brokerSessions", "broker session"),
    "spent_codes": ("spentCodes", "spent code"),
    "intents": ("intents", "intent"),
    "orders": ("orders", "order"),
    "order_events": ("orderEvents", "order event"),
    "watches": ("watches", "watch row"),
    "looks": ("looks", "look row"),
    "webhooks": ("webhooks", "webhook"),
    "users": ("users", "name"),
}


def purge(
    *, dry_run: DryRun = False, reason: Reason = "retention", actor: Actor = "service", as_json: AsJson = False
) -> None:
    """Delete sessions, spent codes, orders and names that have been kept for as long as the settings allow."""

    async def work(desk: Desk) -> Counts:
        bounds = await bounds_now(desk.db, desk.settings)
        if dry_run:
            return await count_overdue(desk.db, bounds)
        until = {"sessionsUntil": bounds.sessions, "spentCodesUntil": bounds.spent_codes}
        until |= {"placementsUntil": bounds.placements, "orderEventsUntil": bounds.order_events}
        told = {name: moment(bound) for name, bound in until.items()}
        await _write(desk, "purge-begun", actor, told | {"reason": reason})  # first: no deed without its row
        gone = await purging.purge(desk.db, bounds)
        await _write(desk, "purged", actor, _facts(gone))
        return gone

    counts = run(work)
    say(_sentence(counts, dry_run=dry_run), {"dryRun": dry_run} | _facts(counts), as_json=as_json)


async def _write(desk: Desk, action: str, actor: str, facts: Mapping[str, Fact]) -> None:
    async with desk.db.transaction() as tx:
        await desk.ledger.write(tx, SYSTEM, action, actor=actor, facts=facts)


def _facts(counts: Counts) -> dict[str, int]:
    return {_THINGS[name][0]: count for name, count in asdict(counts).items()}


def _sentence(counts: Counts, *, dry_run: bool) -> str:
    gone = [counted(count, _THINGS[name][1]) for name, count in asdict(counts).items() if count]
    if not gone:
        return "Nothing has been kept for longer than the settings allow."
    return f"{'Would delete' if dry_run else 'Deleted'} {', '.join(gone)}."
