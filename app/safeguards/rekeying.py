"""What is stored, sealed anew with the ring's first key, batch by batch while the service runs.

A batch is read without a lock and put back in one statement. It passes over what somebody has just locked, so that
nobody waits for the other, and replaces only what still stands as it was read: a sign-in, a log-out or a new row of the
ledger always wins, and what was passed over has another turn.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    RowMapping,
    Text,
    and_,
    func,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Database
from app.safeguards.audit import Head, head_seal
from app.safeguards.sealing import CannotOpen, KeyRing, Place, Sealed
from app.tables import broker_sessions, ledger, ledger_heads

MOST_IN_A_BATCH = 5000
"""One statement locks so many rows, for some tenths of a second at the most."""

_TURNS = 5
_PAUSE = 0.2  # seconds between two turns; whoever changes a row holds it for milliseconds
_COUNTED_AT_ONCE = 50_000  # rows of the ledger; far below what one statement may take


@dataclass(frozen=True)
class Kept:
    """A column that a key has sealed: whose it is, what else it is bound to, and where its key's id stands."""

    owner: Column[str]
    bound_to: Column[Any]
    content: Column[bytes]
    key_id: Column[str]
    is_sealed: ColumnElement[bool]


TOKENS = Kept(
    broker_sessions.c.user_id,
    broker_sessions.c.id,
    broker_sessions.c.token_sealed,
    broker_sessions.c.token_key_id,
    broker_sessions.c.token_sealed.is_not(None),
)
HEADS = Kept(
    ledger_heads.c.chain,
    ledger_heads.c.mac,
    ledger_heads.c.seal,
    ledger_heads.c.key_id,
    ledger_heads.c.number > 0,  # a chain that is only locked so far has no seal yet
)

Renewal = tuple[RowMapping, bytes]
"""What was read, and its content sealed anew."""


@dataclass(frozen=True)
class Rekeyed:
    """How many were sealed anew, and whose were left as they are, with the reason."""

    count: int
    left: Mapping[str, str]


@dataclass(frozen=True)
class Need:
    """What a key is still needed for: tokens that it opens, heads and rows of the ledger that it verifies."""

    tokens: int
    heads: int
    rows: int


async def rekey_tokens(db: Database, ring: KeyRing, place_of: Callable[[UUID], Place], batch: int) -> Rekeyed:
    """Seal anew every broker's token that another key than the first one sealed; what no key opens is left."""

    def renewed(row: RowMapping) -> bytes:
        place = place_of(row[TOKENS.bound_to])
        opened = ring.open(Sealed(row[TOKENS.key_id], row[TOKENS.content]), place)
        return ring.seal(opened, place).content

    return await _rekey(db, TOKENS, ring.sealing_key_id, renewed, batch)


async def rekey_heads(db: Database, ring: KeyRing, batch: int) -> Rekeyed:
    """Seal anew every head of the ledger that another key than the first one sealed; one in doubt is left."""

    def renewed(row: RowMapping) -> bytes:
        head = Head(row["chain"], row["number"], row["mac"], row["key_id"], row["seal"])
        if doubt := head.doubt(ring):
            raise CannotOpen(doubt)  # a new seal would make it genuine
        return head_seal(ring, head.chain, head.number, head.mac, ring.sealing_key_id)

    return await _rekey(db, HEADS, ring.sealing_key_id, renewed, batch)


async def read_batch(tx: AsyncConnection, kept: Kept, key_id: str, after: str, count: int) -> Sequence[RowMapping]:
    """Return the next ones that another key than `key_id` sealed, in the order of their owners."""
    page = select(kept.owner.table).where(kept.is_sealed, kept.key_id != key_id, kept.owner > after)
    return (await tx.execute(page.order_by(kept.owner).limit(count))).mappings().all()


async def put_back(tx: AsyncConnection, kept: Kept, key_id: str, renewals: Sequence[Renewal]) -> int:
    """Replace what still stands as it was read and is not being changed; return how many that were."""
    if not renewals:
        return 0
    read = [row for row, _ in renewals]
    fresh = (
        func.unnest(
            literal([row[kept.owner] for row in read], ARRAY(Text)),
            literal([row[kept.bound_to] for row in read], ARRAY(kept.bound_to.type)),
            literal([row[kept.content] for row in read], ARRAY(LargeBinary)),
            literal([content for _, content in renewals], ARRAY(LargeBinary)),
        )
        .table_valued("owner", "bound_to", "former", "content")
        .render_derived("fresh")
    )
    free = select(kept.owner).where(kept.owner.in_(select(fresh.c.owner))).with_for_update(skip_locked=True).cte("free")
    replaced = await tx.execute(
        update(kept.owner.table)
        .where(
            kept.owner == free.c[kept.owner.name],
            kept.owner == fresh.c.owner,
            kept.bound_to == fresh.c.bound_to,
            kept.content == fresh.c.former,
        )
        .values({kept.content: fresh.c.content, kept.key_id: key_id})
    )
    return replaced.rowcount


async def _rekey(db: Database, kept: Kept, key_id: str, renewed: Callable[[RowMapping], bytes], batch: int) -> Rekeyed:
    count, left = 0, dict[str, str]()
    for turn in range(_TURNS):
        await asyncio.sleep(_PAUSE if turn else 0)
        passed_over, after = 0, ""
        left.clear()
        async with db.reading() as tx:  # each statement is a transaction of its own: a lock outlives none of them
            while found := await read_batch(tx, kept, key_id, after, batch):
                renewals = list(_renewals(kept, found, renewed, left))
                replaced = await put_back(tx, kept, key_id, renewals)
                count += replaced
                passed_over += len(renewals) - replaced
                after = found[-1][kept.owner]
        if not passed_over:
            break
    return Rekeyed(count, left)


def _renewals(
    kept: Kept, found: Sequence[RowMapping], renewed: Callable[[RowMapping], bytes], left: dict[str, str]
) -> Iterator[Renewal]:
    """Yield what can be sealed anew, and note in `left` why the others can't."""
    for row in found:
        try:
            yield row, renewed(row)
        except (CannotOpen, ValueError) as error:  # the latter for bytes that never were a seal
            left[row[kept.owner]] = str(error)


async def head_key_ids(tx: AsyncConnection) -> frozenset[str]:
    """Return the ids of all keys without which a chain of the ledger would be written on in doubt."""
    found = await tx.scalars(select(HEADS.key_id).where(HEADS.is_sealed).distinct())
    return frozenset(found)


async def chains_of(tx: AsyncConnection, key_ids: Collection[str], most: int) -> tuple[Sequence[str], int]:
    """Return the names of the first chains whose heads one of these keys has sealed, and how many there are of them."""
    theirs = HEADS.is_sealed, HEADS.key_id.in_(key_ids)
    names = (await tx.scalars(select(HEADS.owner).where(*theirs).order_by(HEADS.owner).limit(most))).all()
    return names, (await tx.execute(select(func.count()).select_from(ledger_heads).where(*theirs))).scalar_one()


async def last_uses(db: Database) -> dict[str, timedelta]:
    """Return, by the id of each key, how long ago it sealed a token or signed the last row of a chain, the latest."""
    is_last = and_(ledger.c.chain == ledger_heads.c.chain, ledger.c.number == ledger_heads.c.number)
    signed = select(ledger.c.key_id, ledger.c.at).join(ledger_heads, is_last)
    sealed = select(TOKENS.key_id, broker_sessions.c.connected_at).where(TOKENS.is_sealed)
    used = union_all(signed, sealed).subquery("used")
    ago = func.clock_timestamp() - func.max(used.c.at)
    async with db.reading() as tx:
        return {row[0]: row[1] for row in await tx.execute(select(used.c.key_id, ago).group_by(used.c.key_id))}


async def is_younger(db: Database, key_id: str, than: str, *, at_once: int = _COUNTED_AT_ONCE) -> bool:
    """Say whether a key signed its first row of the ledger after the other one, which has signed some; reads it all."""
    firsts = dict[str, datetime]()
    async with db.reading() as tx:
        async for part in _parts(tx, at_once):
            found = await tx.execute(
                select(ledger.c.key_id, func.min(ledger.c.at)).where(*part).group_by(ledger.c.key_id)
            )
            for signer, first in found:
                firsts[signer] = min(first, firsts.get(signer, first))
    return than in firsts and (key_id not in firsts or firsts[key_id] > firsts[than])


async def needs(db: Database, *, at_once: int = _COUNTED_AT_ONCE) -> dict[str, Need]:
    """Return, by the id of each key that something stored needs, how much there is; reads the whole ledger."""
    async with db.reading() as tx:
        tokens, heads = await _counted(tx, TOKENS), await _counted(tx, HEADS)
        rows = await _rows_by_key(tx, at_once)
    return {
        key_id: Need(tokens[key_id], heads[key_id], rows[key_id])
        for key_id in sorted(tokens.keys() | heads.keys() | rows.keys())
    }


async def sealed_by(db: Database, key_id: str) -> dict[str, UUID | None]:
    """Return whose token or head one key has sealed; by the owner's name, with his broker session if it is a token."""
    async with db.reading() as tx:
        chains = await tx.scalars(select(HEADS.owner).where(HEADS.is_sealed, HEADS.key_id == key_id))
        found: dict[str, UUID | None] = dict.fromkeys(chains)
        sessions = select(TOKENS.owner, TOKENS.bound_to).where(TOKENS.is_sealed, TOKENS.key_id == key_id)
        return found | {row[0]: row[1] for row in await tx.execute(sessions)}


async def _counted(tx: AsyncConnection, kept: Kept) -> Counter[str]:
    found = await tx.execute(select(kept.key_id, func.count()).where(kept.is_sealed).group_by(kept.key_id))
    return Counter({row[0]: row[1] for row in found})


async def _rows_by_key(tx: AsyncConnection, at_once: int) -> Counter[str]:
    """Count the ledger's rows by the keys that signed them."""
    counted = Counter[str]()
    async for part in _parts(tx, at_once):
        found = await tx.execute(select(ledger.c.key_id, func.count()).where(*part).group_by(ledger.c.key_id))
        counted.update({row[0]: row[1] for row in found})
    return counted


async def _parts(tx: AsyncConnection, at_once: int) -> AsyncIterator[Sequence[ColumnElement[bool]]]:
    """Yield conditions that are the ledger, part by part in the order of its primary key."""
    place = tuple_(ledger.c.chain, ledger.c.number)
    ends = (
        select(ledger.c.chain, ledger.c.number).order_by(ledger.c.chain, ledger.c.number).offset(at_once - 1).limit(1)
    )
    since = place > ("", 0)
    while True:
        end = (await tx.execute(ends.where(since))).one_or_none()
        if end is None:
            yield (since,)
            return
        yield since, place <= (end.chain, end.number)
        since = place > (end.chain, end.number)
