"""What is written stays: rows, their order, and what a row remembers of a head that somebody had touched."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError

from app.db import Database
from app.safeguards.audit import SYSTEM, Fact, Ledger
from app.safeguards.audit_reading import heads, keep_telling_heads, snapshot, tell_heads
from app.safeguards.audit_verifying import Kind, verify
from tests.support.investor import signed_in
from tests.support.ledgers import RING, USER, by_hand, write_rows
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger SET actor = 'x'", "DELETE FROM ledger", "TRUNCATE ledger", "TRUNCATE ledger, ledger_heads"],
)
async def test_the_database_refuses_to_change_a_row(db: Database, rows: asyncpg.Connection, statement: str) -> None:
    await write_rows(db)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await rows.execute(statement)
    assert await rows.fetchval("SELECT count(*) FROM ledger") == 1


async def test_a_row_falls_with_the_transaction_it_was_written_in(db: Database) -> None:
    async def write_and_fail() -> None:
        async with db.transaction() as tx:
            await Ledger(RING).write(tx, USER, "tested", actor=USER, facts={})
            raise RuntimeError("afterwards")

    with pytest.raises(RuntimeError, match="afterwards"):
        await write_and_fail()
    assert (await verify(db, RING)).rows == 0
    await write_rows(db, 2)
    assert (await verify(db, RING)).findings == []


async def test_several_rows_of_one_transaction_follow_each_other(db: Database, rows: asyncpg.Connection) -> None:
    async with db.transaction() as tx:
        for chain in (USER, SYSTEM, USER):
            await Ledger(RING).write(tx, chain, "tested", actor=USER, facts={})
    assert await rows.fetch("SELECT chain, number FROM ledger ORDER BY chain, number") == [
        (USER, 1), (USER, 2), (SYSTEM, 1)
    ]  # fmt: skip
    verdict = await verify(db, RING)
    assert (verdict.rows, verdict.chains, verdict.findings) == (3, 2, [])


async def test_rows_written_onto_a_held_chain_follow_each_other_and_what_was_there(
    db: Database, rows: asyncpg.Connection
) -> None:
    await write_rows(db, 2)
    later = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251  # only that it is written as it was given
    async with db.transaction() as tx:
        held = await Ledger(RING).hold(tx, USER)
        await held.write("tested", actor=USER, facts={"which": 1})
        await held.write("tested", actor=USER, facts={"which": 2}, at=later)
        assert await Ledger(RING).lock(tx, USER) > held.now
    await write_rows(db)
    written = await rows.fetch("SELECT number, at FROM ledger ORDER BY number")
    assert [each["number"] for each in written] == [1, 2, 3, 4, 5]
    assert [each["at"] for each in written][2:4] == [held.now, later]
    verdict = await verify(db, RING)
    assert (verdict.rows, verdict.findings) == (5, [])


async def test_a_held_chain_that_was_written_another_way_is_not_forked(db: Database) -> None:
    await write_rows(db)

    async def write_both_ways() -> None:
        async with db.transaction() as tx:
            held = await Ledger(RING).hold(tx, USER)
            await Ledger(RING).write(tx, USER, "tested", actor=USER, facts={})
            await held.write("tested", actor=USER, facts={})

    with pytest.raises(IntegrityError, match="ledger_pkey"):
        await write_both_ways()
    verdict = await verify(db, RING)
    assert (verdict.rows, verdict.findings) == (1, [])


async def test_many_writers_leave_no_gap(db: Database, rows: asyncpg.Connection) -> None:
    await asyncio.gather(*(write_rows(db, 3) for _ in range(20)))
    assert await rows.fetchval("SELECT array_agg(number ORDER BY at, number) FROM ledger") == [*range(1, 61)]
    assert (await verify(db, RING)).findings == []


async def test_a_locked_chain_is_decided_about_one_at_a_time(db: Database) -> None:
    ledger, order = Ledger(RING), []

    async def decide(name: str) -> datetime:
        async with db.transaction() as tx:
            at = await ledger.lock(tx, USER)
            order.append(f"{name} begins")
            await asyncio.sleep(0.05)
            order.append(f"{name} ends")
        return at

    first, second = sorted(await asyncio.gather(decide("one"), decide("one")))
    assert order == ["one begins", "one ends"] * 2
    assert second - first >= timedelta(seconds=0.05), "the time is that after the waiting"
    async with db.transaction() as tx:
        await ledger.lock(tx, USER)
        async with asyncio.timeout(2), db.transaction() as other:
            await ledger.lock(other, "CD5678")


async def test_a_text_that_postgres_can_not_store_does_not_keep_a_row_from_being_written(
    db: Database, rows: asyncpg.Connection
) -> None:
    facts: dict[str, Fact] = {"reason": "bad\0 half \ud800 of a pair", "name": "अनिता 🙂", "large": 2**70}
    async with db.transaction() as tx:
        await Ledger(RING).write(tx, USER, "tested", actor=USER, facts=facts)
    assert (await verify(db, RING)).findings == []
    stored = json.loads(await rows.fetchval("SELECT facts FROM ledger"))
    assert stored == facts | {"reason": "bad half ? of a pair"}


async def test_a_row_written_onto_a_head_moved_by_hand_says_so_for_good(db: Database, rows: asyncpg.Connection) -> None:
    """Else the next row would make the end that was cut off a genuine one."""
    await write_rows(db, 3)
    await by_hand(rows, "DELETE FROM ledger WHERE number = 3")
    await rows.execute("UPDATE ledger_heads SET number = 2, mac = (SELECT mac FROM ledger WHERE number = 2)")
    await write_rows(db, 2)
    [finding] = (await verify(db, RING)).findings
    assert (finding.chain, finding.number, finding.kind) == (USER, 3, Kind.HEAD)


@pytest.mark.parametrize("hand", ["DELETE FROM ledger_heads", "UPDATE ledger_heads SET number = 1, seal = 'x'"])
async def test_a_head_that_is_gone_or_too_low_keeps_nobody_from_writing(
    db: Database, rows: asyncpg.Connection, hand: str
) -> None:
    await write_rows(db, 3)
    await rows.execute(hand)
    await write_rows(db)
    [finding] = (await verify(db, RING)).findings
    assert (finding.number, finding.kind) == (4, Kind.HEAD)


async def test_a_sign_in_and_a_log_out_stand_in_the_ledger(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        assert (await browser.delete("/v1/session")).status_code == 204
    written = await rows.fetch("SELECT chain, number, actor, action, facts FROM ledger ORDER BY number")
    session, broker_session = (
        await rows.fetchval("SELECT id FROM sessions"), await rows.fetchval("SELECT id FROM broker_sessions")
    )  # fmt: skip
    assert [tuple(row)[:4] for row in written] == [(USER, 1, USER, "signed-in"), (USER, 2, USER, "signed-out")]
    assert [json.loads(row["facts"]) for row in written] == [
        {"session": str(session), "brokerSession": str(broker_session)}, {"session": str(session)}
    ]  # fmt: skip


async def test_the_heads_are_told_to_the_log(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    await write_rows(db, 2)
    await write_rows(db, chain=SYSTEM)
    await tell_heads(db)
    lines = [line for line in lines_of(caplog) if line["event"] == "ledger_head"]
    async with snapshot(db) as tx:
        expected = [(head.chain, head.number, head.mac.hex()) async for head in heads(tx)]
    assert [(each["chain"], each["number"], each["mac"]) for each in lines] == expected
    assert {each["level"] for each in lines} == {"info"}


async def test_the_telling_of_heads_survives_a_database_that_is_gone(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = Database.open(SecretStr("postgresql://127.0.0.1:1/none"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await keep_telling_heads(nowhere, every=timedelta(seconds=0.01))
    await nowhere.aclose()
    assert [line["event"] for line in lines_of(caplog)].count("ledger_heads_not_told") >= 2
