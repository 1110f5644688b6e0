"""What commands about the database work with: pool, keys and ledger, opened without the broker and closed again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.commands.speaking import fail, read_settings
from app.db import Database, reason_of
from app.problems import TemporarilyUnavailable
from app.resources import NotReady, refuse_old_schema
from app.safeguards.audit import Ledger
from app.safeguards.halts import wait_for_older_decisions
from app.safeguards.sealing import KeyRing
from app.settings import Settings

T = TypeVar("T")


class CannotDo(Exception):
    """What a command could not do, in one sentence for whoever typed it."""


@dataclass(frozen=True)
class Desk:
    """What lies before an operator's command."""

    settings: Settings
    db: Database
    ring: KeyRing
    ledger: Ledger


def run(work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do the work with everything open; whatever keeps it from being done ends the command with one sentence."""
    settings = read_settings()
    try:
        return asyncio.run(_with_desk(settings, work))
    except (CannotDo, NotReady) as error:
        fail(str(error))
    except TemporarilyUnavailable as problem:
        fail(f"{reason_of(problem)} Check DATABASE_URL.")


async def wait_for_orders_decided_before(desk: Desk, done: str) -> None:
    """Return when no order decided before a halt or a block, which is committed, can still go.

    Raises `CannotDo`, with what is `done` all the same, where the wait was broken off.
    """
    try:
        async with desk.db.transaction() as tx:
            await wait_for_older_decisions(tx)
    except TemporarilyUnavailable as problem:
        raise CannotDo(
            f"{done}, but orders accepted before may still go out: the wait for them was broken off. "
            "Run the same command again."
        ) from problem


async def _with_desk(settings: Settings, work: Callable[[Desk], Awaitable[T]]) -> T:
    db = Database.open(settings.database_url)
    try:
        await refuse_old_schema(db)
        ring = KeyRing(settings.encryption_keys)
        return await work(Desk(settings, db, ring, Ledger(ring)))
    finally:
        await db.aclose()
