"""The ledger judged: per chain the first row that was changed, is missing or cut off, and what nobody can verify.

Two defences, for two hands. Whoever can write to the database but has no key is found by the MACs and the heads' seals.
Whoever puts back rows and head together as they once were is found by heads that were recorded outside, in a log or an
export, and by nothing else.
"""

import hmac
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.db import Database
from app.safeguards.audit import HEAD_BEFORE, NO_MAC, UNVERIFIABLE, Head
from app.safeguards.audit_reading import HEAD_EVENT, Written, chains_without_rows, rows, snapshot
from app.safeguards.sealing import CannotOpen, KeyRing


class Kind(StrEnum):
    """What is wrong: a row, a gap, the end, the head, a head recorded outside; or a key is not in the ring."""

    TAMPERED = "tampered"
    MISSING = "missing"
    CUT_OFF = "cut-off"
    HEAD = "head"
    NOT_AS_RECORDED = "not-as-recorded"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a chain, and the first row that it concerns."""

    chain: str
    number: int
    kind: Kind
    sentence: str


@dataclass(frozen=True)
class RecordedHead:
    """A head as it was written down outside the database; the MAC in hexadecimal digits."""

    chain: str
    number: int
    mac: str


@dataclass
class Verdict:
    """How much was read, and everything that is wrong with it."""

    rows: int = 0
    chains: int = 0
    findings: list[Finding] = field(default_factory=list)


_Recorded = Mapping[int, set[str]]


async def verify(db: Database, ring: KeyRing, recorded: Iterable[RecordedHead] = ()) -> Verdict:
    """Read the whole ledger and judge it; at most one break and one unverifiable row are named for each chain."""
    outside: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in recorded:
        outside[each.chain][each.number].add(each.mac)
    verdict, chain = Verdict(), None
    async with snapshot(db) as tx:
        async for written in rows(tx):
            if chain is None or chain.name != written.entry.chain:
                verdict.findings.extend(chain.judge() if chain else ())
                chain = _Chain(written.entry.chain, ring, written.head, outside.pop(written.entry.chain, {}))
                verdict.chains += 1
            verdict.rows += 1
            chain.read(written)
        verdict.findings.extend(chain.judge() if chain else ())
        async for head in chains_without_rows(tx):
            outside.pop(head.chain, None)
            told = f"all rows are gone; the head says that there were {head.number}"
            verdict.findings.append(_finding(head.chain, 1, Kind.CUT_OFF, told))
    for name, numbers in outside.items():
        told = f"there is neither a row nor a head; one recorded outside says that there were {max(numbers)} rows"
        verdict.findings.append(_finding(name, 1, Kind.CUT_OFF, told))
    return verdict


class _Chain:
    """One chain while it is read: where it has come to, and the first of what is wrong."""

    def __init__(self, name: str, ring: KeyRing, head: Head | None, recorded: _Recorded) -> None:
        self.name = name
        self._ring = ring
        self._head = head
        self._recorded = recorded
        self._number = 0
        self._mac = NO_MAC
        self._broken: Finding | None = None
        self._unverifiable: Finding | None = None

    def read(self, written: Written) -> None:
        if self._broken is None:
            self._broken = self._break_at(written)
            self._number, self._mac = written.entry.number, written.mac

    def judge(self) -> Iterator[Finding]:
        """Yield what was found, once the last row has been read."""
        broken = self._broken or self._break_at_the_end()
        yield from (each for each in (self._unverifiable, broken) if each)

    def _break_at(self, written: Written) -> Finding | None:
        number, expected = written.entry.number, self._number + 1
        if number > expected:
            return self._found(expected, Kind.MISSING, f"row {expected} is missing; the next one is {number}")
        if number < expected:
            return self._found(number, Kind.TAMPERED, f"row {number} was never written; a chain begins with 1")
        if not self._is_as_written(written):
            return self._found(number, Kind.TAMPERED, f"row {number} is not as it was written")
        if any(mac != written.mac.hex() for mac in self._recorded.get(number, ())):
            told = f"row {number} is another than the one that was recorded outside"
            return self._found(number, Kind.NOT_AS_RECORDED, told)
        return self._doubt_of(written)

    def _is_as_written(self, written: Written) -> bool:
        """Judge a row by its MAC; one whose key the ring lacks is noted and passed over."""
        try:
            expected = written.entry.mac(self._ring, self._mac)
        except CannotOpen:
            number, key_id = written.entry.number, written.entry.key_id
            told = f"row {number} can't be verified: it is signed by {key_id}, which ENCRYPTION_KEYS lacks"
            self._unverifiable = self._unverifiable or self._found(number, Kind.UNVERIFIABLE, told)
            return True
        return hmac.compare_digest(expected, written.mac)

    def _doubt_of(self, written: Written) -> Finding | None:
        """Return what the service itself noted of the head when it wrote the row; only a verified row is believed."""
        if written.entry.key_id not in self._ring.key_ids:
            return None
        doubt, number = written.entry.facts.get(HEAD_BEFORE), written.entry.number
        if doubt == UNVERIFIABLE:
            told = f"row {number} was written when the head before it could not be verified; rows before may be missing"
            self._unverifiable = self._unverifiable or self._found(number, Kind.UNVERIFIABLE, told)
            return None
        told = f"row {number} was written onto a head put there by hand; rows before it may be missing"
        return self._found(number, Kind.HEAD, told) if doubt else None

    def _break_at_the_end(self) -> Finding | None:
        head, last = self._head, self._number
        if head is None:
            return self._found(last, Kind.HEAD, f"the head is missing, although there are rows up to {last}")
        if wrong := self._wrong_with(head):
            return wrong
        recorded = max(self._recorded, default=0)
        told = f"the chain ends with row {last}; a head recorded outside says that there were {recorded} rows"
        return self._found(last + 1, Kind.CUT_OFF, told) if recorded > last else None

    def _wrong_with(self, head: Head) -> Finding | None:
        last = self._number
        doubt = head.doubt(self._ring)
        if doubt == UNVERIFIABLE:
            told = f"the head can't be verified: it is signed by {head.key_id}, which ENCRYPTION_KEYS lacks"
            self._unverifiable = self._unverifiable or self._found(last, Kind.UNVERIFIABLE, told)
        elif doubt:
            return self._found(last, Kind.HEAD, f"the head, which says {head.number}, was put there by hand")
        if last < head.number:
            told = f"the chain ends with row {last}; the head says that there were {head.number} rows"
            return self._found(last + 1, Kind.CUT_OFF, told)
        if (last, self._mac) != (head.number, head.mac):
            return self._found(last, Kind.HEAD, f"the head says {head.number} and does not fit the last row, {last}")
        return None

    def _found(self, number: int, kind: Kind, told: str) -> Finding:
        return _finding(self.name, number, kind, told)


def _finding(chain: str, number: int, kind: Kind, told: str) -> Finding:
    return Finding(chain, number, kind, f"{chain}: {told}.")


class NotRecorded(Exception):
    """A file of recorded heads can't be read, or there is none in it."""


def recorded_heads(lines: Iterable[str]) -> set[RecordedHead]:
    """Return the heads among JSON lines: of an export, or of the service's own log; other lines are passed over.

    Raises `NotRecorded`.
    """
    found = set()
    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line) if line.strip() else {}
            head = told.get("head") or (told if told.get("event") == HEAD_EVENT else None)
            if head:
                found.add(RecordedHead(str(head["chain"]), int(head["number"]), str(head["mac"]).lower()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotRecorded(f"Line {number} is none of an export's and none of the log's.") from error
    if not found:
        raise NotRecorded("There is no head in it.")
    return found
