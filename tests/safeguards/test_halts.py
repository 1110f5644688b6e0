"""The kill switch stops what has not been decided, waits for what has, and stays out of nobody's way."""

import asyncio

import asyncpg
import pytest

from app.db import Database
from app.problems import TradingHalted
from app.safeguards.audit import Ledger
from app.safeguards.halts import (
    EVERYBODY,
    halt,
    halted,
    has_signed_in,
    lift,
    refuse_if_halted,
    wait_for_older_decisions,
)
from tests.support.ledgers import RING, USER


async def judge(db: Database, user_id: str = USER) -> None:
    async with db.transaction() as tx:
        await refuse_if_halted(tx, user_id)


async def stop(db: Database, scope: str, reason: str = "maintenance") -> bool:
    async with db.transaction() as tx:
        return await halt(tx, scope, reason, "Asha")


async def test_nothing_is_halted_at_first(db: Database) -> None:
    await judge(db)
    async with db.reading() as tx:
        assert await halted(tx) == []


@pytest.mark.parametrize("scope", [EVERYBODY, USER])
async def test_a_halted_user_is_refused_with_the_reason_given(db: Database, scope: str) -> None:
    await stop(db, scope, "the exchange is closed")
    with pytest.raises(TradingHalted) as refused:
        await judge(db)
    assert refused.value.detail == "the exchange is closed"


async def test_a_halt_of_one_user_leaves_the_others_alone(db: Database) -> None:
    await stop(db, "CD5678")
    await judge(db)


async def test_a_lifted_halt_is_over_and_the_other_one_stands(db: Database) -> None:
    await stop(db, USER, "his own")
    await stop(db, EVERYBODY, "everybody's")
    async with db.transaction() as tx:
        assert await lift(tx, EVERYBODY)
        assert not await lift(tx, EVERYBODY)
    with pytest.raises(TradingHalted, match="his own"):
        await judge(db)
    async with db.transaction() as tx:
        assert await lift(tx, USER)
    await judge(db)


async def test_a_second_halt_brings_a_new_reason_and_keeps_the_time(db: Database) -> None:
    assert await stop(db, USER)
    assert await stop(db, EVERYBODY)
    async with db.reading() as tx:
        since = (await halted(tx))[1].since
    assert not await stop(db, USER, "another reason")
    async with db.reading() as tx:
        everybody, user = await halted(tx)
    assert (everybody.scope, user.scope) == (EVERYBODY, USER)
    assert (user.reason, user.actor, user.since) == ("another reason", "Asha", since)


async def test_a_halt_waits_for_a_decision_under_way_and_no_later_one_passes(db: Database) -> None:
    """The decision holds its chain and then the lock, the halt the chain and only then the lock: nobody is stuck."""
    decided, committed, events = asyncio.Event(), asyncio.Event(), []

    async def decide() -> None:
        async with db.transaction() as tx:
            await Ledger(RING).lock(tx, USER)
            await refuse_if_halted(tx, USER)
            decided.set()
            await committed.wait()
        events.append("decided")

    async def command() -> None:
        async with db.transaction() as tx:
            await Ledger(RING).lock(tx, "system")
            await halt(tx, EVERYBODY, "now", "Asha")
        async with db.transaction() as tx:
            await wait_for_older_decisions(tx)
        events.append("halted")

    deciding = asyncio.create_task(decide())
    await decided.wait()
    halting = asyncio.create_task(command())
    await asyncio.sleep(0.2)
    assert events == [], "the command must not return while an older decision may still be committed"
    later = asyncio.create_task(judge(db, "CD5678"))
    committed.set()
    await asyncio.gather(deciding, halting)
    assert events == ["decided", "halted"]
    with pytest.raises(TradingHalted):
        await later


async def test_a_halt_of_a_user_and_his_own_decision_never_wait_for_each_other(db: Database) -> None:
    ledger = Ledger(RING)

    async def decide() -> None:
        async with db.transaction() as tx:
            await ledger.lock(tx, USER)
            await refuse_if_halted(tx, USER)
            await ledger.write(tx, USER, "intended", actor=USER, facts={})

    async def command() -> None:
        async with db.transaction() as tx:
            await ledger.lock(tx, USER)
            await halt(tx, USER, "now", "Asha")
            await ledger.write(tx, USER, "halted", actor="Asha", facts={})
        async with db.transaction() as tx:
            await wait_for_older_decisions(tx)
        async with db.transaction() as tx:
            await ledger.lock(tx, USER)
            await lift(tx, USER)

    async with asyncio.timeout(20):
        ended = await asyncio.gather(
            *(decide() for _ in range(30)), *(command() for _ in range(5)), return_exceptions=True
        )
    assert {type(each) for each in ended if each is not None} <= {TradingHalted}


async def test_a_stranger_is_known_for_one(db: Database, rows: asyncpg.Connection) -> None:
    await rows.execute("INSERT INTO users (id, created_at, signed_in_at) VALUES ($1, now(), now())", USER)
    async with db.reading() as tx:
        assert (await has_signed_in(tx, USER), await has_signed_in(tx, "CD5678")) == (True, False)
