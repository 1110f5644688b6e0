"""An unchanged book is not compared again, unless anything may have happened meanwhile with which it has to be."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from typing_extensions import override

from app.broker.wire import BookRow
from app.clock import Clock
from app.db import Database
from app.orderbook.reading import read_book
from app.sessions.asking import Caller, Reading
from app.sessions.store import Freshness
from app.sessions.unchanged import Unchanged
from tests.support.books import DAY, Books, row
from tests.support.clock import Watch

MORNING = datetime(2026, 11, 24, 4, 30, tzinfo=UTC)
OPEN, DONE = [row()], [row("COMPLETE", filled=10)]


class Reader(Caller):
    """Somebody for whom the broker answers what the test says, when it says so."""

    said: tuple[Sequence[BookRow], datetime] = (OPEN, MORNING)

    @override
    async def ask(self, *_call: Any, **_more: Any) -> Reading[Any]:
        return Reading(*self.said)


class Replica:
    """One replica's way to a user's book."""

    def __init__(self, db: Database, user: str) -> None:
        self._db, self._user = db, user
        self.watch = Watch()
        self._unchanged = Unchanged(self.watch)

    async def read(
        self, last_event: int, book: list[BookRow] = OPEN, *, epoch: int = 0, at: datetime = MORNING
    ) -> list[BookRow]:
        nothing = cast("Any", None)
        reader = Reader(
            clock=Clock(), db=self._db, gateway=nothing, ring=nothing, remembered=nothing, looks=nothing,
            refreshing=nothing, unchanged=self._unchanged, probes=nothing, user_id=self._user, broker=None,
            last_event=last_event, session=nothing, is_remembered=False,
            freshness=Freshness(epoch, None, has_unknown=False, last_event=last_event),
        )  # fmt: skip
        object.__setattr__(reader, "said", (book, at))
        return (await read_book(reader)).answer


@pytest.fixture
async def user(books: Books) -> str:
    return await books.newcomer()


@pytest.fixture
def here(books: Books, user: str) -> Replica:
    return Replica(books.both[0], user)


async def test_what_was_compared_once_is_the_same_the_next_time(here: Replica, books: Books, user: str) -> None:
    await here.read(0)
    last = await books.last(user)
    compared = await here.read(last)
    assert await here.read(last) is compared
    assert await here.read(last, list(OPEN)) is not compared  # another list is another answer


async def test_an_event_of_another_replica_between_two_identical_books_is_not_hidden(
    here: Replica, books: Books, user: str
) -> None:
    await here.read(0)
    before = await books.last(user)
    compared = await here.read(before)
    await books.record(user, DONE, before, at=1)
    after = await books.last(user)
    assert after == before + 1
    late = await here.read(after)
    assert late is not compared
    assert await here.read(before) is not compared
    assert await books.types(user) == ["OPEN", "FILLED"]
    assert (await here.read(after, DONE))[0].order.filled_quantity == 10


async def test_a_change_is_told_by_whoever_sees_it_first(here: Replica, books: Books, user: str) -> None:
    await here.read(0)
    before = await books.last(user)
    await here.read(before)
    await here.read(before, DONE)
    assert await books.types(user) == ["OPEN", "FILLED"]


@pytest.mark.parametrize("what", ["an order call", "another day", "ten seconds"])
async def test_what_may_have_changed_is_compared_again(what: str, here: Replica, books: Books, user: str) -> None:
    await here.read(0)
    last = await books.last(user)
    compared = await here.read(last)
    assert await here.read(last) is compared
    intent_id = await an_intent(books.rows, user)
    await books.rows.execute("UPDATE seen_orders SET intent_id = $1 WHERE user_id = $2", intent_id, user)
    if what == "an order call":
        again = await here.read(last, epoch=1)
    elif what == "another day":
        again = await here.read(last, at=MORNING + timedelta(hours=24))
    else:
        here.watch.time += 10
        again = await here.read(last)
    assert again is not compared
    assert again[0].order.placement_id == str(intent_id)
    assert compared[0].order.placement_id is None


async def test_what_one_user_is_told_is_never_anothers(books: Books, user: str, here: Replica) -> None:
    await here.read(0)
    mine = await here.read(await books.last(user))
    other = await books.newcomer()
    there = Replica(books.both[0], other)
    there._unchanged = here._unchanged  # noqa: SLF001  # as in one process
    await there.read(0)
    hers = await there.read(await books.last(other))
    assert hers is not mine
    assert await here.read(await books.last(user)) is mine
    assert await books.types(other) == ["OPEN"]


async def an_intent(rows: asyncpg.Connection, user: str) -> UUID:
    intent_id = uuid4()
    await rows.execute(
        "INSERT INTO intents (id, user_id, action, terms, likeness, trading_day, created_at, send_by, doubtful_at,"
        " state, is_watched) VALUES ($1, $2, 'PLACE', '{}', '', $3, now(), now(), now(), 'unknown', false)",
        intent_id, user, DAY,
    )  # fmt: skip
    return intent_id
