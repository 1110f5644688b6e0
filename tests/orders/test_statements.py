"""What an order asks of the database: no statement more than it needs, none built anew, none that a crowd upsets."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExecutionContext
from sqlalchemy.engine.interfaces import CacheStats

from app.observability import current_errand
from app.orders import acting_store
from app.orders.intents import ResolvedBy
from app.safeguards.halts import wait_for_older_decisions
from app.trading import Outcome
from tests.support.ledgers import opened
from tests.support.replicas import Replicas, Trader, until

USER = "AB1234"
PLACING = [
    "SELECT intents.id, ",  # the key, before anything is judged
    "WITH held AS",  # the chain of the ledger
    "SELECT intents.id, ",  # the key once more, and the share of the lock of halts
    "SELECT (SELECT halts.reason",  # halt, block, caps, twin
    "WITH raised AS",  # epoch, intent, watch
    "WITH appended AS",
    "WITH held AS",
    "WITH settled AS",  # outcome, epoch
    "WITH attached AS",  # whose order it is
    "UPDATE watches",
    "WITH appended AS",
]
"""What one accepted order asks through the engine; the session and the permit are others' matters."""


class Asked(NamedTuple):
    """A statement as it was sent, what it was built as, and whether it had been compiled before."""

    text: str
    built: object
    cache: object


@contextmanager
def listening() -> Iterator[dict[str, list[Asked]]]:
    """Give all statements that are sent meanwhile, by the errand that they were sent for."""
    asked: dict[str, list[Asked]] = defaultdict(list)

    def note(
        _connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: ExecutionContext, _many: bool
    ) -> None:
        errand: Any = current_errand()
        known: Any = context
        if errand and "FROM sessions" not in statement:
            asked[errand.id].append(Asked(statement, known.invoked_statement, known.cache_hit))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_an_order_asks_for_what_it_needs_once_and_with_statements_that_stand_ready(asha: Trader) -> None:
    await asha.placed()
    with listening() as asked:
        answers = [await asha.place(), await asha.place()]
    assert [each.status_code for each in answers] == [201, 201]
    first, second = (asked[each.headers["x-request-id"]] for each in answers)
    assert len(first) == len(PLACING), [each.text[:60] for each in first]
    assert [each.text[: len(begins)] for each, begins in zip(first, PLACING, strict=True)] == PLACING
    assert [one.built is other.built for one, other in zip(first, second, strict=True)] == [True] * len(PLACING)
    assert {each.cache for each in second} == {CacheStats.CACHE_HIT}


async def test_what_is_refused_at_once_asks_for_no_more_than_it_takes(replicas: Replicas, asha: Trader) -> None:
    await replicas.store.rows.execute("INSERT INTO halts VALUES ('*', 'the exchange is down', 'Ravi', now())")
    with listening() as asked:
        answer = await asha.place()
    assert answer.status_code == 403
    found = asked[answer.headers["x-request-id"]]
    assert [each.text[: len(begins)] for each, begins in zip(found, PLACING[:4], strict=True)] == PLACING[:4]


async def test_only_what_is_to_be_decided_waits_for_a_halt_that_waits_for_decisions(
    replicas: Replicas, asha: Trader
) -> None:
    """A request that comes again is answered with what was done; nothing new is decided meanwhile."""
    placement_id = (await asha.place("known")).json()["placementId"]
    db = opened(replicas.database_url)
    async with db.transaction() as deciding:
        async with db.transaction() as halting:
            await wait_for_older_decisions(halting)
            async with asyncio.timeout(2):
                known = await acting_store.find_by_key_or_share_lock(deciding, USER, "known")
            assert str(known.id if known else None) == placement_id
            fresh = asyncio.create_task(acting_store.find_by_key_or_share_lock(deciding, USER, "fresh"))
            await is_waiting_with(replicas, "SELECT intents.id")
        assert await fresh is None
    await db.aclose()


async def is_waiting_with(replicas: Replicas, beginning: str) -> None:
    """Return as soon as somebody waits for a lock with a statement that begins so."""

    async def is_waiting() -> bool:
        return bool(await replicas.store.rows.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE $1 || '%'", beginning,
        ))  # fmt: skip

    await until(is_waiting)


async def while_his_row_is_written(replicas: Replicas, beginning: str, doing: Coroutine[Any, Any, Any]) -> Any:
    """Do something that waits for the user's row, which another transaction changes meanwhile and commits then."""
    other = await asyncpg.connect(replicas.database_url)
    try:
        async with other.transaction():
            await other.execute("UPDATE users SET last_event = last_event + 1 WHERE id = $1", USER)
            task = asyncio.create_task(doing)
            await is_waiting_with(replicas, beginning)
        return await task
    finally:
        await other.close()


async def counters(replicas: Replicas) -> tuple[int, int]:
    row = await replicas.store.rows.fetchrow("SELECT book_epoch, last_event FROM users WHERE id = $1", USER)
    return row["book_epoch"], row["last_event"]


async def test_an_intent_and_an_event_written_at_once_lose_nothing_of_each_other(
    replicas: Replicas, asha: Trader
) -> None:
    await replicas.store.rows.execute("UPDATE watches SET next_look_at = NULL")
    epoch, last = await counters(replicas)
    answer = await while_his_row_is_written(replicas, "WITH raised AS", asha.place())
    assert answer.status_code == 201
    assert await counters(replicas) == (epoch + 2, last + 1)
    assert len(await replicas.store.intents()) == 1


@pytest.mark.parametrize("state", ["sending", "unknown", "refused"])
async def test_an_outcome_and_an_event_written_at_once_lose_nothing_of_each_other(
    replicas: Replicas, asha: Trader, state: str
) -> None:
    placement_id = (await asha.place()).json()["placementId"]
    rows, db = replicas.store.rows, opened(replicas.database_url)
    await replicas.store.looked()
    await rows.execute("UPDATE watches SET next_look_at = NULL, lease_until = now() + interval '1 hour'")
    await rows.execute(
        "UPDATE intents SET state = $1, resolved_at = CASE WHEN $2 THEN resolved_at END,"
        " resolved_by = CASE WHEN $2 THEN resolved_by END, is_watched = false",
        state, state == "refused",
    )  # fmt: skip
    epoch, last = await counters(replicas)

    async def settle() -> Any:
        async with db.transaction() as tx:
            return await acting_store.settle(
                tx, (await rows.fetchrow("SELECT id FROM intents"))["id"], Outcome.ACCEPTED, None, ResolvedBy.BROKER,
                is_watched=False,
            )  # fmt: skip

    settled = await while_his_row_is_written(replicas, "WITH settled AS", settle())
    await db.aclose()
    assert (str(settled.id), settled.state) == (placement_id, "accepted")
    assert await counters(replicas) == (epoch + 1, last + 1)
    assert (await replicas.store.intent(placement_id))["state"] == "accepted"
