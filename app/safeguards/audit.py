"""The ledger: what was done in whose name, written in the caller's transaction, chained so that nothing changes unseen.

One chain per user and one for the system. Each row's HMAC covers the row and the HMAC of the row before it; the chain's
head names the last row and is sealed, so that the end of a chain can't be cut off by hand either.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, insert, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app import measures
from app.observability import logger
from app.safeguards.sealing import CannotOpen, KeyRing
from app.tables import ledger, ledger_heads

_log = logger(__name__)

SYSTEM = "system"
"""The chain of what concerns nobody in particular; users' ids are in capitals, so none of them is called so."""

HEAD_BEFORE = "headBefore"
"""The fact by which a row remembers that the head it was written onto was not to be believed, and why."""
NOT_GENUINE, UNVERIFIABLE = "not-genuine", "unverifiable"

NO_MAC = b""
"""What stands before the first row of a chain."""

Fact = str | int | None


@dataclass(frozen=True)
class Entry:
    """One row as it is signed: everything but its own MAC and the one before it."""

    chain: str
    number: int
    at: datetime
    actor: str
    action: str
    facts: Mapping[str, Fact]
    key_id: str

    def mac(self, ring: KeyRing, previous: bytes) -> bytes:
        """Return the row's MAC behind a row with the MAC `previous`; raises `CannotOpen` without the row's key."""
        signed = [
            self.chain,
            self.number,
            moment(self.at),
            self.actor,
            self.action,
            self.facts,
            self.key_id,
            previous.hex(),
        ]
        return ring.sign("ledger", _canonical(signed), key_id=self.key_id)


def moment(at: datetime) -> str:
    """Return a time as it is signed and shown: UTC, to the microsecond, as PostgreSQL keeps it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Head:
    """A chain's last row, as `ledger_heads` tells it; number 0 where nothing has been written yet."""

    chain: str
    number: int
    mac: bytes
    key_id: str
    seal: bytes

    def doubt(self, ring: KeyRing) -> str | None:
        """Return why the head is not to be believed, none where it is."""
        try:
            expected = head_seal(ring, self.chain, self.number, self.mac, self.key_id)
        except CannotOpen:
            return UNVERIFIABLE
        return None if hmac.compare_digest(expected, self.seal) else NOT_GENUINE


def head_seal(ring: KeyRing, chain: str, number: int, mac: bytes, key_id: str) -> bytes:
    """Return the HMAC over a head; raises `CannotOpen` without its key."""
    return ring.sign("ledger-head", _canonical([chain, number, mac.hex(), key_id]), key_id=key_id)


class Held:
    """A chain that a transaction holds: each row is written onto the head that was read under its lock.

    Nobody else moves the head meanwhile. Of one transaction nobody writes the chain another way as long as somebody
    writes by this: the second row of one number would be refused.
    """

    def __init__(self, ring: KeyRing, tx: AsyncConnection, head: Head, now: datetime) -> None:
        self._ring = ring
        self._tx = tx
        self._head = head
        self.now = now
        """The store's moment when the waiting for the chain was over."""

    async def write(self, action: str, *, actor: str, facts: Mapping[str, Fact], at: datetime | None = None) -> None:
        """Append one row, of the moment `at` by the store's clock or else of that when the chain was held.

        `facts` hold no secrets and nothing personal.
        """
        head, doubts = await self._to_write_onto()
        told = {name: _storable(fact) for name, fact in facts.items()} | doubts
        entry = Entry(head.chain, head.number + 1, at or self.now, actor, action, told, self._ring.sealing_key_id)
        self._head = await self._append(entry, entry.mac(self._ring, head.mac))

    async def _to_write_onto(self) -> tuple[Head, dict[str, Fact]]:
        """Return the head, or the last row that there is where the head is not to be believed, and what to note of it.

        Somebody's hand in the database must not keep an investor from a cancel: the row is written, and says for good
        that what stood before it is in doubt.
        """
        head = self._head
        doubt = head.doubt(self._ring)
        if doubt is None:
            return head, {}
        last = (await self._tx.execute(_LAST_ROW, {"of": head.chain})).one_or_none()
        number, mac = (last.number, last.mac) if last else (0, NO_MAC)
        is_new = head.number == number == 0
        if not is_new:
            measures.ledger_head_in_doubt()
            _log.error("ledger_head_in_doubt", chain=head.chain, head=head.number, last_row=number, doubt=doubt)
        return replace(head, number=number, mac=mac), {} if is_new else {HEAD_BEFORE: doubt}

    async def _append(self, entry: Entry, mac: bytes) -> Head:
        """Insert the row and move the head in one statement; return the head as it is then."""
        seal = head_seal(self._ring, entry.chain, entry.number, mac, entry.key_id)
        given = {f"row_{name}": value for name, value in vars(entry).items()}
        await self._tx.execute(_APPEND, given | {"row_mac": mac, "head_seal": seal})
        return Head(entry.chain, entry.number, mac, entry.key_id, seal)


class Ledger:
    """Appends; what is written stands or falls with the caller's transaction."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def hold(self, tx: AsyncConnection, chain: str) -> Held:
        """Hold the chain until the transaction ends, so that one thing at a time is decided for a user.

        Whoever locks a chain and other things too locks the chain first: two who do it in different orders wait for
        each other.
        """
        row = (await tx.execute(_HOLD, {"held": chain})).one_or_none()
        if row is None:
            # Unsealed, so that the first to write onto it looks whether there are rows already.
            empty = {"number": 0, "mac": NO_MAC, "key_id": self._ring.sealing_key_id, "seal": b""}
            await tx.execute(upsert(ledger_heads).values(chain=chain, **empty).on_conflict_do_nothing())
            row = (await tx.execute(_HOLD, {"held": chain})).one()
        return Held(self._ring, tx, Head(row.chain, row.number, row.mac, row.key_id, row.seal), row.now)

    async def lock(self, tx: AsyncConnection, chain: str) -> datetime:
        """Hold the chain and return the store's moment when the waiting for it was over."""
        return (await self.hold(tx, chain)).now

    async def write(
        self, tx: AsyncConnection, chain: str, action: str, *, actor: str, facts: Mapping[str, Fact]
    ) -> None:
        """Append one row to a chain that may be held already; `facts` hold no secrets and nothing personal."""
        await (await self.hold(tx, chain)).write(action, actor=actor, facts=facts)


_held = select(ledger_heads).where(ledger_heads.c.chain == bindparam("held")).with_for_update().cte("held")
_ASLEEP = "5s"
"""Whoever stops in the middle of a decision, frozen or cut off, keeps a user's cancels waiting no longer than this."""
_HOLD = select(
    _held,
    func.clock_timestamp().label("now"),  # outside, so that the time is that after the waiting
    func.set_config("idle_in_transaction_session_timeout", _ASLEEP, true()).label("asleep"),  # of this transaction
)
_APPEND = (
    update(ledger_heads)
    .where(ledger_heads.c.chain == bindparam("row_chain"))
    .values(
        number=bindparam("row_number"), mac=bindparam("row_mac"), key_id=bindparam("row_key_id"),
        seal=bindparam("head_seal"),
    )
    .add_cte(insert(ledger).values({each: bindparam(f"row_{each.name}") for each in ledger.c}).cte("appended"))
)  # fmt: skip
_LAST_ROW = (
    select(ledger.c.number, ledger.c.mac)
    .where(ledger.c.chain == bindparam("of"))
    .order_by(ledger.c.number.desc())
    .limit(1)
)


def _storable(fact: Fact) -> Fact:
    """Return the fact without what PostgreSQL can't store: a broker's text must not keep a row from being written."""
    return fact.replace("\0", "").encode(errors="replace").decode() if isinstance(fact, str) else fact


def _canonical(signed: Sequence[object]) -> bytes:
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()
