"""The ledger read: page by page in the order of its chains, one snapshot for all pages, in bounded memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Never

from sqlalchemy import Row, Text, cast, func, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Database
from app.observability import logger
from app.problems import TemporarilyUnavailable
from app.safeguards.audit import Entry, Fact, Head, moment
from app.tables import ledger, ledger_heads

_log = logger(__name__)

_PAGE = 1000  # rows; far below what one statement may take
HEAD_EVENT = "ledger_head"
"""The name of the log line that tells a head, by which `partner audit verify --heads` finds it."""

# PostgreSQL's calendar is longer than Python's; a time put beyond it by hand is to be a finding, not the end of it all.
_EARLIEST, _LATEST = (literal(datetime(year, 1, 1, tzinfo=UTC)) for year in (2, 9999))


@dataclass(frozen=True)
class Written:
    """One row as it stands in the ledger, and the head of its chain where there is one."""

    entry: Entry
    mac: bytes
    head: Head | None


@asynccontextmanager
async def snapshot(db: Database) -> AsyncIterator[AsyncConnection]:
    """Read in one transaction that sees the same rows and heads from its first page to its last."""
    async with db.transaction() as tx:
        await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield tx


async def rows(tx: AsyncConnection) -> AsyncIterator[Written]:
    """Yield every row of every chain, in order."""
    page = select(
        *(column for column in ledger.c if column.name not in {"at", "facts"}),
        func.least(func.greatest(ledger.c.at, _EARLIEST), _LATEST).label("at"),
        cast(ledger.c.facts, Text).label("facts"),
        ledger_heads.c.number.label("head_number"),
        ledger_heads.c.mac.label("head_mac"),
        ledger_heads.c.key_id.label("head_key_id"),
        ledger_heads.c.seal,
    ).select_from(ledger.outerjoin(ledger_heads, ledger.c.chain == ledger_heads.c.chain))
    page = page.order_by(ledger.c.chain, ledger.c.number).limit(_PAGE)
    place = tuple_(ledger.c.chain, ledger.c.number)
    found = (await tx.execute(page)).all()
    while found:
        for row in found:
            yield _written(row)
        found = (await tx.execute(page.where(place > (found[-1].chain, found[-1].number)))).all()


async def heads(tx: AsyncConnection) -> AsyncIterator[Head]:
    """Yield the head of every chain that has been written to."""
    page = select(ledger_heads).where(ledger_heads.c.number > 0).order_by(ledger_heads.c.chain).limit(_PAGE)
    found = (await tx.execute(page)).all()
    while found:
        for row in found:
            yield Head(row.chain, row.number, row.mac, row.key_id, row.seal)
        found = (await tx.execute(page.where(ledger_heads.c.chain > found[-1].chain))).all()


async def chains_without_rows(tx: AsyncConnection) -> AsyncIterator[Head]:
    """Yield the heads that name a last row of a chain which has none at all."""
    has_row = select(ledger.c.chain).where(ledger.c.chain == ledger_heads.c.chain).exists()
    page = select(ledger_heads).where(ledger_heads.c.number > 0, ~has_row).order_by(ledger_heads.c.chain)
    for row in await tx.execute(page):
        yield Head(row.chain, row.number, row.mac, row.key_id, row.seal)


async def export(tx: AsyncConnection, since: datetime, until: datetime) -> AsyncIterator[dict[str, object]]:
    """Yield the rows of a period, its end not included, as they are signed and with their MAC in hexadecimal digits.

    It reads the whole ledger, as verifying does: an index on time would cost every write.
    """
    async for written in rows(tx):
        entry = written.entry
        if since <= entry.at < until:
            yield {
                "chain": entry.chain,
                "number": entry.number,
                "at": moment(entry.at),
                "actor": entry.actor,
                "action": entry.action,
                "facts": entry.facts,
                "keyId": entry.key_id,
                "mac": written.mac.hex(),
            }


def told(head: Head) -> dict[str, str | int]:
    """Return what is written down of a head outside the database."""
    return {"chain": head.chain, "number": head.number, "mac": head.mac.hex()}


async def tell_heads(db: Database) -> None:
    """Log the head of every chain: a copy outside the database, by which a ledger set back as a whole is found."""
    async with snapshot(db) as tx:
        async for head in heads(tx):
            _log.info(HEAD_EVENT, **told(head))
            await asyncio.sleep(0)  # requests go on between two lines of thousands


async def keep_telling_heads(db: Database, every: timedelta = timedelta(hours=1)) -> Never:
    """Tell the heads now and every hour, whatever becomes of the database meanwhile."""
    while True:
        try:
            await tell_heads(db)
        except TemporarilyUnavailable:
            _log.warning("ledger_heads_not_told")  # why, db.py has logged
        await asyncio.sleep(every.total_seconds())


def _written(row: Row[*tuple[Any, ...]]) -> Written:
    entry = Entry(row.chain, row.number, row.at, row.actor, row.action, _facts(row.facts), row.key_id)
    has_head = row.head_number is not None
    head = Head(row.chain, row.head_number, row.head_mac, row.head_key_id, row.seal) if has_head else None
    return Written(entry, row.mac, head)


def _facts(text: str) -> dict[str, Fact]:
    """Read what was written as facts; what the service can't have written is shown as it stands and never verifies."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):  # a number of five thousand digits, brackets without an end
        facts = None
    is_flat = isinstance(facts, dict) and not any(isinstance(fact, dict | list) for fact in facts.values())
    return facts if is_flat else {"unreadable": text}
