"""Each change is written down once, in order and without a gap, however many see it and however late they come."""

import asyncio
import logging
import random
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.broker.wire import BookRow
from app.order_updates import looks_store
from app.order_updates.store import events_after
from tests.support.books import DAY, LEASE, NEXT_DAY, NUMBER, Books, row
from tests.support.replicas import Replicas, Trader
from tests.support.simulated import SimulatedBroker

FRESH = {"Cache-Control": "no-cache"}


async def placed_intent(books: Books, user: str) -> UUID:
    """Write down, as if it had been sent, what an order may have come from."""
    intent_id = uuid4()
    await books.rows.execute(
        "INSERT INTO intents (id, user_id, action, terms, likeness, trading_day, created_at, send_by, doubtful_at,"
        " state, is_watched) VALUES ($1, $2, 'PLACE', '{}', '', $3, now(), now(), now(), 'unknown', true)",
        intent_id, user, DAY,
    )  # fmt: skip
    return intent_id


def is_without_gap(events: list[dict[str, Any]]) -> bool:
    """Say whether the numbers are 1, 2, 3 … and the moments grow with them."""
    moments = [each["seen_at"] for each in events]
    return [each["number"] for each in events] == list(range(1, len(events) + 1)) and moments == sorted(moments)


# --- at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["record", "write", "both"])
async def test_a_change_that_many_see_at_once_is_written_once(books: Books, how: str) -> None:
    user = await books.newcomer()
    states = [
        row("PENDING"),
        row(),
        row(filled=4),
        row(filled=4, price="14.05"),
        row("COMPLETE", filled=10, price="14.05"),
    ]
    for after, state in enumerate(states):
        await asyncio.gather(*(
            books.record(user, [state], after, at=each % 2) if how == "record" or (how == "both" and each % 3)
            else books.write(user, [state], after, at=each % 2)
            for each in range(16)
        ))  # fmt: skip
    assert await books.types(user) == ["ACCEPTED", "OPEN", "PARTLY_FILLED", "MODIFIED", "FILLED"]
    assert is_without_gap(await books.events(user))


async def test_of_many_writers_one_is_told_that_there_are_events(books: Books) -> None:
    user = await books.newcomer()
    told = await asyncio.gather(*(books.write(user, [row()], 0, at=each % 2) for each in range(12)))
    assert sorted(told) == [False] * 11 + [True]


async def test_sights_of_different_orders_at_once_lose_nothing_for_good(books: Books) -> None:
    """The broker's replicas need not show the same; what was dropped is shown again by the next look."""
    user = await books.newcomer()
    numbers = [f"261124000000{each:02d}" for each in range(12)]
    await asyncio.gather(*(books.record(user, [row(number=each)], 0, at=int(each) % 2) for each in numbers))
    assert await books.last(user) == 1
    assert await books.is_look_wanted(user)
    await books.record(user, [row(number=each) for each in numbers], 1)
    events = await books.events(user)
    assert is_without_gap(events)
    assert sorted(each["order_no"] for each in events) == numbers
    assert {each["type"] for each in events} == {"OPEN"}


async def test_many_users_at_once_are_counted_each_for_himself(books: Books) -> None:
    users = [await books.newcomer() for _ in range(6)]
    book = [row(number=f"2611240000010{each}") for each in range(5)]
    await asyncio.gather(*(
        books.record(user, book[::-1] if each % 2 else book, 0, at=each % 2) for user in users for each in range(4)
    ))  # fmt: skip
    for user in users:
        events = await books.events(user)
        assert len(events) == 5
        assert is_without_gap(events)


# --- sights that overlap ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [row("PENDING"), row(filled=4), row("CANCELED"), row(price="14.05")])
async def test_a_sight_that_overlapped_is_dropped_and_somebody_looks_again(books: Books, late: BookRow) -> None:
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    assert not await books.is_look_wanted(user)
    before = await books.seen(user)
    await books.record(user, [late], 0, at=1)
    assert await books.types(user) == ["OPEN"]
    after = await books.seen(user)
    assert [after[name] for name in ("status", "shown", "quantity")] == [
        before[name] for name in ("status", "shown", "quantity")
    ]
    assert await books.is_look_wanted(user)


async def test_a_sight_that_shows_nothing_new_asks_for_no_other_look(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.record(user, [row(exchupdatetime="24-11-2026 10:00:09")], 0)
    assert await books.types(user) == ["OPEN"]
    assert not await books.is_look_wanted(user)


async def test_what_was_dropped_is_told_by_the_next_sight(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.record(user, [row(filled=4), row("REJECTED", number="26112400000002")], 0)
    await books.record(user, [row(filled=4), row("REJECTED", number="26112400000002")], 1)
    events = await books.events(user)
    assert [(each["type"], each["order_no"][-1]) for each in events] == [
        ("OPEN", "1"), ("PARTLY_FILLED", "1"), ("REJECTED", "2"),
    ]  # fmt: skip
    assert events[2]["changes"] == []
    assert is_without_gap(events)


async def test_a_sight_of_the_future_is_dropped_too(books: Books) -> None:
    """A restored database has forgotten events of which a replica had heard."""
    user = await books.newcomer()
    await books.record(user, [row()], 7)
    assert await books.events(user) == []
    assert await books.is_look_wanted(user)


async def test_a_dropped_sight_of_the_next_day_ends_nothing(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.record(user, [], 0, NEXT_DAY)
    assert await books.types(user) == ["OPEN"]
    await books.record(user, [], 1, NEXT_DAY)
    await books.record(user, [], 2, NEXT_DAY)
    assert await books.types(user) == ["OPEN", "UNKNOWN"]


async def test_many_who_miss_an_order_on_the_next_day_tell_that_once(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row(), row("COMPLETE", number="26112400000002", filled=10)], 0)
    await asyncio.gather(*(books.record(user, [], 2, NEXT_DAY, at=each % 2) for each in range(10)))
    assert await books.types(user) == ["OPEN", "FILLED", "UNKNOWN"]


async def test_what_is_final_is_never_taken_back(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row("COMPLETE", filled=10)], 0)
    for after in (0, 1):
        await books.record(user, [row()], after)
        await books.write(user, [row("CANCELED")], after)
    assert await books.types(user) == ["FILLED"]
    assert (await books.seen(user))["status"] == "COMPLETE"


async def test_what_is_learned_of_a_final_order_later_leaves_it_final(books: Books) -> None:
    user = await books.newcomer()
    await books.record(user, [row("COMPLETE", filled=10)], 0)
    before = await books.seen(user)
    await books.record(user, [row(remarks="PABCDEFGHIJKLMNOP")], 1)
    after = await books.seen(user)
    assert after["correlation"] == "PABCDEFGHIJKLMNOP"
    assert [after[name] for name in ("status", "shown")] == [before[name] for name in ("status", "shown")]
    assert await books.types(user) == ["FILLED"]


async def test_of_two_rows_about_one_order_the_open_one_is_written(books: Books) -> None:
    """A final state is never taken back: taken from a doubtful row, it would hide an open order for ever."""
    user = await books.newcomer()
    await books.record(user, [row("CANCELED"), row()], 0)
    await books.record(user, [row(filled=4)], await books.last(user))
    assert await books.types(user) == ["OPEN", "PARTLY_FILLED"]


async def test_whose_an_order_is_counts_from_a_dropped_sight_too(books: Books) -> None:
    user = await books.newcomer()
    mine, others = await placed_intent(books, user), "26112400000002"
    await books.record(user, [row()], 0)
    marked = [row(filled=4, remarks="PABCDEFGHIJKLMNOP"), row(number=others, exchange="BSE")]
    assert not await books.write(user, marked, 0, came_from={NUMBER: mine, others: mine})
    seen, other = await books.seen(user), await books.seen(user, others)
    assert (seen["intent_id"], seen["correlation"], seen["shown"]["filledQuantity"]) == (mine, "PABCDEFGHIJKLMNOP", 0)
    assert (other["intent_id"], other["exchange"], other["status"], other["shown"]) == (mine, "BSE", None, None)
    async with books.both[1].reading() as tx:
        [told] = await events_after(tx, user, 0, 10)
    assert told.order.placement_id == str(mine)
    assert await books.write(user, marked, 1)
    assert await books.types(user) == ["OPEN", "PARTLY_FILLED", "OPEN"]
    assert (await books.seen(user))["intent_id"] == mine


async def test_an_order_keeps_the_placement_that_it_came_from(books: Books) -> None:
    user = await books.newcomer()
    first, second = await placed_intent(books, user), await placed_intent(books, user)
    await books.write(user, [row()], 0, came_from={NUMBER: first})
    await books.write(user, [row(filled=4)], 1, came_from={NUMBER: second})
    await books.write(user, [row(filled=5)], 1, came_from={NUMBER: second})
    assert (await books.seen(user))["intent_id"] == first


async def test_a_book_as_long_as_the_broker_allows_in_a_day_is_written_down(books: Books) -> None:
    """Five thousand orders; whoever placed them elsewhere comes with all of them at once."""
    user = await books.newcomer()
    await books.record(user, [row("COMPLETE", number=f"2611240000{each:04d}", filled=10) for each in range(5000)], 0)
    assert await books.last(user) == 5000


@pytest.mark.parametrize("whose", ["its own", "another's"])
async def test_a_sight_that_was_dropped_while_somebody_looked_is_looked_for_again(books: Books, whose: str) -> None:
    """The look's own end must not put off, or forget, what the dropped sight has asked for."""
    user = await books.newcomer()
    await books.record(user, [row()], 0)
    await books.rows.execute("UPDATE book_looks SET next_look_at = now() WHERE user_id = $1", user)
    async with books.both[0].transaction() as tx:
        [claimed] = [each for each in await looks_store.claim(tx, 100, LEASE) if each.user_id == user]
    await books.record(user, [row("COMPLETE", filled=10)], claimed.last_event, at=1)
    late = [row("COMPLETE", filled=10), row(number="26112400000002")]
    await books.record(user, late, claimed.last_event, at=0 if whose == "its own" else 1)
    async with books.both[0].transaction() as tx:
        await looks_store.release(tx, claimed, timedelta(minutes=1), LEASE)
    assert await books.types(user) == ["OPEN", "FILLED"]
    assert await books.is_look_wanted(user)


# --- readers who come and go ------------------------------------------------------------------------------------------


@dataclass
class Truth:
    """What the broker's book really shows, state by state, of each order."""

    orders: dict[str, list[BookRow]] = field(default_factory=dict)

    def book(self) -> list[BookRow]:
        return [states[-1] for states in self.orders.values()]

    def go_on(self, index: int, chance: random.Random) -> None:
        """Let something happen to one of four orders: no state of an order comes twice."""
        number = f"2611240000000{index}"
        states = self.orders.setdefault(number, [])
        if not states:
            states.append(row(chance.choice(["PENDING", "OPEN"]), number=number))
            return
        order = states[-1].order
        if order.status.is_final:
            return
        filled, price = order.filled_quantity or 0, str(order.price)
        kind = chance.choice(["fill", "fill", "modify", "modify", "cancel"])
        if kind == "fill":
            filled += chance.randint(1, 4)
            status = "COMPLETE" if filled >= 10 else "OPEN"
            states.append(row(status, number=number, filled=min(filled, 10), price=price))
        else:
            status = "CANCELED" if kind == "cancel" else "OPEN"
            states.append(row(status, number=number, filled=filled, price=f"14.{len(states) + 20}"))


@dataclass
class Reader:
    """Somebody who asks the broker; its answer is of some moment between his asking and his hearing of it."""

    after: int
    rows: list[BookRow] | None = None


async def _write_all(books: Books, user: str, readers: list[Reader], *, is_reconciler: bool) -> None:
    await asyncio.gather(*(
        books.write(user, each.rows or [], each.after, at=at % 2) if is_reconciler != bool(at % 2)
        else books.record(user, each.rows or [], each.after, at=at % 2)
        for at, each in enumerate(readers)
    ))  # fmt: skip


async def _play(books: Books, user: str, truth: Truth, turns: list[int], chance: random.Random) -> None:
    """Let orders go on (0 to 3) and readers ask, be answered and write down (4 to 8; 9: all at once) in this order."""
    readers: dict[int, Reader] = {}
    for turn in turns:
        reader = readers.get(turn)
        if turn < 4:
            truth.go_on(turn, chance)
        elif turn == 9:
            answered = [readers.pop(each) for each in list(readers) if readers[each].rows is not None]
            await _write_all(books, user, answered, is_reconciler=True)
        elif reader is None:
            readers[turn] = Reader(await books.last(user))
        elif reader.rows is None:
            reader.rows = truth.book()
        else:
            await _write_all(books, user, [readers.pop(turn)], is_reconciler=turn % 2 == 1)


async def _hold_against(books: Books, user: str, truth: Truth) -> None:
    """Hold what was told against what was true, after a last look that nobody disturbed."""
    await books.record(user, truth.book(), await books.last(user))
    events = await books.events(user)
    assert is_without_gap(events)
    assert await books.last(user) == len(events)
    for number, states in truth.orders.items():
        told = [each["shown"] for each in events if each["order_no"] == number]
        once = [shown for shown, _ in groupby(told)]
        true = [each.shown for each in states]
        places = [true.index(each) for each in once]
        assert places == sorted(set(places)), "states in their order, each told once"
        assert once[-1] == true[-1]
    assert {each["order_no"] for each in events} == set(truth.orders)


@settings(
    max_examples=50,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(turns=st.lists(st.integers(0, 9), min_size=20, max_size=80), seed=st.integers(0, 2**16))
async def test_whenever_readers_write_down_what_they_saw_the_truth_is_told_in_order(
    recording_books: Books, turns: list[int], seed: int
) -> None:
    user, truth = await recording_books.newcomer(), Truth()
    await _play(recording_books, user, truth, turns, random.Random(seed))  # noqa: S311  # no secret
    await _hold_against(recording_books, user, truth)


@pytest.mark.parametrize("seed", range(3))
async def test_readers_at_two_replicas_who_do_not_wait_for_each_other_tell_the_truth_in_order(
    books: Books, seed: int
) -> None:
    user, truth, chance = await books.newcomer(), Truth(), random.Random(seed)  # noqa: S311  # no secret

    async def read(at: int) -> None:
        for _ in range(8):
            after = await books.last(user)
            truth.go_on(chance.randrange(4), chance)
            book = truth.book()
            await books.last(user)  # a while in which others write
            if at == 0:
                await books.write(user, book, after, at=at % 2)
            else:
                await books.record(user, book, after, at=at % 2)

    await asyncio.gather(*(read(each) for each in range(5)))
    await _hold_against(books, user, truth)


# --- over sockets -----------------------------------------------------------------------------------------------------


async def _told(asha: Trader, number: str) -> list[str]:
    """Return the types of what the list says of one order, after it has been held to be whole."""
    listed = (await asha.get("/v1/order-events", params={"limit": 200})).json()
    ids = [each["id"] for each in listed["orderEvents"]]
    assert ids == list(range(1, len(ids) + 1))
    assert listed["lastEventId"] == len(ids)
    return [each["type"] for each in listed["orderEvents"] if each["order"]["orderNo"] == number]


async def test_the_reconciler_and_whoever_reads_the_book_write_an_event_once(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    number = await asha.placed()
    broker.set_price("YESBANK-EQ", "13.00")

    async def read() -> None:
        for each in range(4):
            url = f"{replicas.both[each % 2].url}/v1/orders"
            assert (await asha.get(url, headers=FRESH)).status_code == 200

    await asyncio.gather(*(read() for _ in range(3)), replicas.store.looked())
    found = await _told(asha, number)
    assert found[-1:] == ["FILLED"]
    assert found in (["FILLED"], ["OPEN", "FILLED"])


def _failures(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return [(each.status_code, each.text) for each in answers if each.status_code >= 500]


async def _deadlocks(replicas: Replicas) -> int:
    """Return how many the database has met since it was made."""
    asked = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(await replicas.store.rows.fetchval(asked))


async def test_nobody_waits_in_a_circle_however_much_is_done_and_read_at_once(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker.order_switches(remarksIn="book", fillAtMost=3)
    answers: list[httpx.Response] = []
    numbers: list[str] = []
    before = await _deadlocks(replicas)  # emptying the tables after an earlier test may have met a look

    async def trade(at: int) -> None:
        for each in range(4):
            here, there = replicas.both[at % 2], replicas.both[(at + each) % 2]
            placed = await asha.place(at=here, quantity=10 + at, allowDuplicate=True)
            answers.append(placed)
            [order] = placed.json()["orders"]
            numbers.append(order["orderNo"])
            if each % 2:
                answers.append(await asha.modify(order["orderNo"], {"price": "14.05"}, at=there))
            answers.append(await asha.delete(f"{there.url}/v1/orders/{order['orderNo']}"))

    async def read(at: int) -> None:
        urls = [f"{replicas.both[(at + each) % 2].url}/v1/orders" for each in range(15)]
        answers.extend([await asha.get(url, headers=FRESH) for url in urls])

    await asyncio.gather(*(trade(each) for each in range(3)), *(read(each) for each in range(4)))
    await replicas.store.looked()
    assert (await asha.get("/v1/orders", headers=FRESH)).status_code == 200
    assert _failures(answers) == []
    told = caplog.text.lower()
    assert "deadlock" not in told
    assert "database_unavailable" not in told
    assert await _deadlocks(replicas) == before
    for number in numbers:
        found = await _told(asha, number)
        assert found[-1] == "CANCELLED"
        assert found.count("OPEN") <= 1
        assert found.count("MODIFIED") <= 1
    assert len(set(numbers)) == 12
