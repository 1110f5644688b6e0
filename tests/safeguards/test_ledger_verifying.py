"""A ledger that was touched says where, whoever touched it; what only a record outside can show needs the record."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.db import Database
from app.safeguards import audit_reading
from app.safeguards.audit import SYSTEM, Entry, head_seal
from app.safeguards.audit_reading import export, heads, snapshot, told
from app.safeguards.audit_verifying import Finding, Kind, NotRecorded, RecordedHead, recorded_heads, verify
from tests.support.ledgers import RING, USER, by_hand, ring_of, write_rows


async def findings(db: Database, recorded: set[RecordedHead] | None = None) -> list[Finding]:
    return (await verify(db, RING, recorded or set())).findings


async def the_finding(db: Database, recorded: set[RecordedHead] | None = None) -> tuple[int, Kind]:
    """Return the only finding there is, which must be about the one chain that was touched."""
    [found] = await findings(db, recorded)
    assert found.chain == USER
    assert found.sentence.startswith(f"{USER}: ")
    return found.number, found.kind


async def record(db: Database) -> set[RecordedHead]:
    async with snapshot(db) as tx:
        return {RecordedHead(head.chain, head.number, head.mac.hex()) async for head in heads(tx)}


async def fill(db: Database) -> None:
    for chain in ("AA1", USER, "ZZ9", SYSTEM):
        await write_rows(db, 5, chain=chain)


async def test_an_empty_ledger_and_an_untouched_one_are_whole(db: Database) -> None:
    assert (await verify(db, RING)).rows == 0
    await fill(db)
    verdict = await verify(db, RING, await record(db))
    assert (verdict.rows, verdict.chains, verdict.findings) == (20, 4, [])


async def test_a_ledger_longer_than_a_page_is_read_to_its_end(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_reading, "_PAGE", 3)
    await fill(db)
    verdict = await verify(db, RING, await record(db))
    assert (verdict.rows, verdict.chains, verdict.findings) == (20, 4, [])


@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'", "at = 'infinity'", "at = '0044-03-15 BC'", "at = '20000-01-01'",
        "actor = 'somebody'", "action = 'nothing'", "mac = mac || '\\x00'", "mac = ''", "key_id = 'k2'",
        "mac = (SELECT mac FROM ledger WHERE number = 2 LIMIT 1)",
        "facts = '{}'", "facts = '[1]'", "facts = facts || '{\"index\": 2.0}'", "facts = '{\"index\": 1e5000}'",
        "facts = ('{\"index\": ' || repeat('[', 2000) || repeat(']', 2000) || '}')::jsonb",
    ],
)  # fmt: skip
async def test_a_change_of_any_column_is_found_at_its_row(db: Database, rows: asyncpg.Connection, change: str) -> None:
    await fill(db)
    await by_hand(rows, f"UPDATE ledger SET {change} WHERE chain = '{USER}' AND number = 3")
    [found] = (await verify(db, ring_of("k1", "k2"))).findings
    assert (found.chain, found.number, found.kind) == (USER, 3, Kind.TAMPERED)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM ledger WHERE chain = 'AB1234' AND number = 1", (1, Kind.MISSING)),
        ("DELETE FROM ledger WHERE chain = 'AB1234' AND number IN (2, 3)", (2, Kind.MISSING)),
        ("UPDATE ledger SET number = 9 WHERE chain = 'AB1234' AND number = 5", (5, Kind.MISSING)),
        ("UPDATE ledger SET number = 0 WHERE chain = 'AB1234' AND number = 1", (0, Kind.TAMPERED)),
        ("DELETE FROM ledger WHERE chain = 'AB1234' AND number = 5", (5, Kind.CUT_OFF)),
        ("DELETE FROM ledger WHERE chain = 'AB1234'", (1, Kind.CUT_OFF)),
        ("DELETE FROM ledger_heads WHERE chain = 'AB1234'", (5, Kind.HEAD)),
        ("UPDATE ledger_heads SET number = 4 WHERE chain = 'AB1234'", (5, Kind.HEAD)),
        ("UPDATE ledger_heads SET number = 0 WHERE chain = 'AB1234'", (5, Kind.HEAD)),
        ("UPDATE ledger_heads SET mac = 'x' WHERE chain = 'AB1234'", (5, Kind.HEAD)),
    ],
)
async def test_a_row_or_a_head_that_was_removed_is_found(
    db: Database, rows: asyncpg.Connection, statement: str, expected: tuple[int, Kind]
) -> None:
    await fill(db)
    await by_hand(rows, statement)
    assert await the_finding(db) == expected


async def test_rows_in_each_others_place_are_found(db: Database, rows: asyncpg.Connection) -> None:
    await fill(db)
    await by_hand(rows, f"DELETE FROM ledger WHERE chain = '{USER}' AND number = 3")
    await by_hand(rows, f"UPDATE ledger SET number = number - 1 WHERE chain = '{USER}' AND number > 3")
    assert await the_finding(db) == (3, Kind.TAMPERED)


async def test_an_end_cut_off_with_the_head_moved_back_by_hand_is_found_by_the_seal(
    db: Database, rows: asyncpg.Connection
) -> None:
    await fill(db)
    await by_hand(rows, f"DELETE FROM ledger WHERE chain = '{USER}' AND number > 3")
    await by_hand(
        rows,
        "UPDATE ledger_heads h SET number = l.number, mac = l.mac "
        f"FROM ledger l WHERE h.chain = '{USER}' AND l.chain = h.chain AND l.number = 3",
    )
    assert await the_finding(db) == (3, Kind.HEAD)


async def test_a_chain_set_back_to_an_older_genuine_state_is_found_by_a_recorded_head_alone(
    db: Database, rows: asyncpg.Connection
) -> None:
    await fill(db)
    await rows.execute("CREATE TEMP TABLE older AS SELECT * FROM ledger_heads")
    await write_rows(db, 2)
    recorded = await record(db)
    await by_hand(rows, f"DELETE FROM ledger WHERE chain = '{USER}' AND number > 5")
    await by_hand(rows, f"DELETE FROM ledger_heads WHERE chain = '{USER}'")
    await by_hand(rows, f"INSERT INTO ledger_heads SELECT * FROM older WHERE chain = '{USER}'")
    assert await findings(db) == []
    assert await the_finding(db, recorded) == (6, Kind.CUT_OFF)
    await write_rows(db, 4)
    assert await findings(db) == []
    assert await the_finding(db, recorded) == (7, Kind.NOT_AS_RECORDED)


async def test_a_chain_removed_with_its_head_is_found_by_a_recorded_head_alone(
    db: Database, rows: asyncpg.Connection
) -> None:
    await fill(db)
    recorded = await record(db)
    await by_hand(rows, f"DELETE FROM ledger WHERE chain = '{USER}'")
    assert await the_finding(db, recorded) == (1, Kind.CUT_OFF)
    await by_hand(rows, f"DELETE FROM ledger_heads WHERE chain = '{USER}'")
    assert await findings(db) == []
    assert await the_finding(db, recorded) == (1, Kind.CUT_OFF)


async def test_a_head_and_rows_that_are_genuine_each_for_itself_have_to_fit(
    db: Database, rows: asyncpg.Connection
) -> None:
    """Whoever puts back an older head alone can't hide the rows behind it."""
    await write_rows(db, 2)
    older = await rows.fetchrow("SELECT * FROM ledger_heads")
    await write_rows(db)
    await by_hand(rows, "DELETE FROM ledger_heads")
    await rows.execute("INSERT INTO ledger_heads VALUES ($1, $2, $3, $4, $5)", *older)
    assert await the_finding(db) == (3, Kind.HEAD)


async def test_rows_of_a_key_that_the_ring_lacks_are_unverifiable_and_hide_nothing(
    db: Database, rows: asyncpg.Connection
) -> None:
    await write_rows(db, 2, ring=ring_of("k2"))
    await write_rows(db, 3, ring=ring_of("k1", "k2"))
    assert (await verify(db, ring_of("k1", "k2"))).findings == []
    [found] = await findings(db)
    assert (found.number, found.kind) == (1, Kind.UNVERIFIABLE)
    assert "signed by k2, which ENCRYPTION_KEYS lacks" in found.sentence
    await by_hand(rows, "UPDATE ledger SET actor = 'x' WHERE number = 4")
    assert [(each.number, each.kind) for each in await findings(db)] == [(1, Kind.UNVERIFIABLE), (4, Kind.TAMPERED)]


async def test_a_head_of_a_key_that_the_ring_lacks_is_unverifiable(db: Database, rows: asyncpg.Connection) -> None:
    await write_rows(db, 2)
    await by_hand(rows, "UPDATE ledger_heads SET key_id = 'k9'")
    assert await the_finding(db) == (2, Kind.UNVERIFIABLE)


async def test_a_row_written_without_the_key_of_the_head_before_it_says_so(db: Database) -> None:
    await write_rows(db, 2)
    await write_rows(db, 2, ring=ring_of("k2"))
    verdict = await verify(db, ring_of("k2", "k1"))
    assert [(each.number, each.kind) for each in verdict.findings] == [(3, Kind.UNVERIFIABLE)]


async def test_a_row_can_not_be_made_unverifiable_to_hide_what_it_says(db: Database, rows: asyncpg.Connection) -> None:
    await fill(db)
    await by_hand(rows, f"UPDATE ledger SET key_id = 'k9', facts = '[]' WHERE chain = '{USER}' AND number = 2")
    assert await the_finding(db) == (2, Kind.UNVERIFIABLE)


async def test_the_seal_and_the_mac_are_those_that_the_docs_describe(db: Database, rows: asyncpg.Connection) -> None:
    """An auditor with the key can do the sum himself."""
    await write_rows(db)
    row, head = await rows.fetchrow("SELECT * FROM ledger"), await rows.fetchrow("SELECT * FROM ledger_heads")
    entry = Entry(USER, 1, row["at"], "tester", "tested", {"index": 0, "reason": None, "text": "अनिता"}, "k1")
    assert entry.mac(RING, b"") == row["mac"] == head["mac"]
    at = row["at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    facts = r'{"index":0,"reason":null,"text":"\u0905\u0928\u093f\u0924\u093e"}'
    signed = f'["{USER}",1,"{at}","tester","tested",{facts},"k1",""]'
    assert RING.sign("ledger", signed.encode()) == row["mac"]
    assert head_seal(RING, USER, 1, row["mac"], "k1") == head["seal"]


async def test_an_export_holds_the_rows_of_its_period(db: Database, rows: asyncpg.Connection) -> None:
    await fill(db)
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    for number in range(1, 6):
        await rows.execute("SET session_replication_role = replica")
        await rows.execute("UPDATE ledger SET at = $1 WHERE number = $2", noon + timedelta(hours=number), number)
    async with snapshot(db) as tx:
        found = [each async for each in export(tx, noon + timedelta(hours=2), noon + timedelta(hours=4))]
        heads_of_all = [told(each) async for each in heads(tx)]
    assert [(each["chain"], each["number"]) for each in found] == [
        (chain, number) for chain in ("AA1", USER, "ZZ9", SYSTEM) for number in (2, 3)
    ]
    assert found[0]["at"] == "2026-11-23T14:00:00.000000+00:00"
    assert set(found[0]) == {"chain", "number", "at", "actor", "action", "facts", "keyId", "mac"}
    assert {each["number"] for each in heads_of_all} == {5}


def test_heads_are_found_in_an_export_and_in_a_log() -> None:
    lines = [
        '{"chain": "AB1", "number": 1, "mac": "aa", "action": "tested"}', "",
        '{"head": {"chain": "AB1", "number": 2, "mac": "BB"}}',
        '{"event": "listening", "level": "info"}',
        '{"event": "ledger_head", "chain": "CD2", "number": 3, "mac": "cc", "level": "info"}',
    ]  # fmt: skip
    assert recorded_heads(lines) == {RecordedHead("AB1", 2, "bb"), RecordedHead("CD2", 3, "cc")}


@pytest.mark.parametrize(
    "line", ["no json", "[]", '"x"', '{"head": {"chain": "x"}}', '{"head": 1}', '{"head": {"number": "x"}}']
)
def test_a_line_that_is_neither_is_named(line: str) -> None:
    with pytest.raises(NotRecorded, match="Line 2"):
        recorded_heads(["{}", line])


def test_a_file_without_a_head_proves_nothing() -> None:
    with pytest.raises(NotRecorded, match="no head in it"):
        recorded_heads(["{}", ""])
