"""The list of a user's order events: every one once, oldest first, his alone, and without a call to the broker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.clock import IST
from app.openapi_examples import EXAMPLES
from app.order_updates.schemas import OrderEventList
from tests.support.clock import SettableClock
from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import Replicas, Trader, until
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

PATH = "/v1/order-events"
FRESH = {"Cache-Control": "no-cache"}
FIRST, COUNT = datetime(2026, 11, 23, 4, 30, tzinfo=UTC), 24
STEP = timedelta(hours=2)


async def written_events(asha: Trader, replicas: Replicas) -> list[int]:
    """Write down, two hours after each other, two dozen events of a shown order, and return their ids."""
    await asha.get("/v1/orders")
    rows = replicas.store.rows
    await rows.execute("CREATE TEMP TABLE IF NOT EXISTS one_event AS SELECT * FROM order_events WHERE false")
    await rows.execute("TRUNCATE one_event")
    await rows.execute("INSERT INTO one_event SELECT * FROM order_events ORDER BY number LIMIT 1")
    await rows.execute("DELETE FROM order_events")
    await rows.execute(
        "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at)"
        " SELECT user_id, n, order_no, 'MODIFIED', shown, '[]', $1::timestamptz + (n - 1) * interval '2 hours'"
        " FROM one_event, generate_series(1, $2::int) n",
        FIRST, COUNT,
    )  # fmt: skip
    await rows.execute("UPDATE users SET last_event = $1 WHERE id = 'AB1234'", COUNT)
    return list(range(1, COUNT + 1))


async def listed(asha: Trader, **asked: Any) -> dict[str, Any]:
    answer = await asha.get(PATH, params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ids(asha: Trader, **asked: Any) -> list[int]:
    return [each["id"] for each in (await listed(asha, **asked))["orderEvents"]]


async def pages(asha: Trader, **asked: Any) -> list[list[int]]:
    """Return the ids of each page, from the first to the one that names no other."""
    found: list[list[int]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await listed(asha, **asked, **cursor)
        found.append([each["id"] for each in page["orderEvents"]])
        if page["nextCursor"] is None:
            return found
        cursor = {"cursor": page["nextCursor"]}
        assert len(found) <= COUNT, "it goes on for ever"


def pointers(answer: httpx.Response) -> list[str]:
    assert (answer.status_code, slug(answer)) == (422, "invalid-request"), answer.text
    return [each["pointer"] for each in answer.json()["errors"]]


# --- which ------------------------------------------------------------------------------------------------------------


async def test_all_pages_together_have_every_event_once_and_oldest_first(replicas: Replicas, asha: Trader) -> None:
    every = await written_events(asha, replicas)
    for limit in (1, 5, COUNT - 1, COUNT, 200):
        found = await pages(asha, limit=limit)
        assert [each for page in found for each in page] == every
        assert {len(page) for page in found[:-1]} <= {limit}
        assert 1 <= len(found[-1]) <= limit


async def test_what_comes_while_somebody_pages_is_on_the_last_page(replicas: Replicas, asha: Trader) -> None:
    every = await written_events(asha, replicas)
    first = await listed(asha, limit=20)
    await asha.placed()
    await asha.get("/v1/orders", headers=FRESH)
    rest = await listed(asha, limit=200, cursor=first["nextCursor"])
    assert [each["id"] for each in first["orderEvents"] + rest["orderEvents"]] == [*every, COUNT + 1]
    assert (first["lastEventId"], rest["lastEventId"], rest["nextCursor"]) == (COUNT, COUNT + 1, None)


async def test_since_names_the_last_event_that_is_known(replicas: Replicas, asha: Trader) -> None:
    every = await written_events(asha, replicas)
    for since in (0, 1, COUNT - 1, COUNT):
        page = await listed(asha, since=since)
        assert [each["id"] for each in page["orderEvents"]] == every[since:]
        assert page["lastEventId"] == COUNT
        found = await pages(asha, since=since, limit=11)
        assert [each for page in found for each in page] == every[since:]


async def test_since_beyond_the_newest_is_an_empty_list_that_names_the_newest(replicas: Replicas, asha: Trader) -> None:
    await written_events(asha, replicas)
    for since in (COUNT + 1, 10**12, 2**63 - 1):
        page = await listed(asha, since=since)
        assert (page["orderEvents"], page["nextCursor"], page["lastEventId"]) == ([], None, COUNT)


async def test_the_newest_event_is_no_older_than_what_is_listed(replicas: Replicas, asha: Trader) -> None:
    """Whoever goes on behind `lastEventId` must not be told again what the list has told him."""
    await written_events(asha, replicas)
    rows = replicas.store.rows

    async def is_waited_for() -> bool:
        return bool(await rows.fetchval(
            "SELECT count(*) FROM pg_locks WHERE relation = 'order_events'::regclass AND NOT granted"
        ))  # fmt: skip

    async with rows.transaction():
        await rows.execute("LOCK TABLE order_events IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(listed(asha))
        await until(is_waited_for)
        await rows.execute(
            "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at)"
            " SELECT user_id, $1, order_no, type, shown, changes, now() FROM one_event",
            COUNT + 1,
        )  # fmt: skip
        await rows.execute("UPDATE users SET last_event = $1 WHERE id = 'AB1234'", COUNT + 1)
    page = await asking
    assert page["lastEventId"] >= page["orderEvents"][-1]["id"]


async def test_a_hundred_is_a_page_where_nothing_else_is_asked_for(replicas: Replicas, asha: Trader) -> None:
    await written_events(asha, replicas)
    rows = replicas.store.rows
    await rows.execute(
        "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at) SELECT user_id, n,"
        " order_no, type, shown, changes, now() FROM one_event, generate_series(25, 130) n"
    )
    assert await ids(asha) == list(range(1, 101))


DAYS: list[tuple[str | None, str | None]] = [
    ("2026-11-24", None), (None, "2026-11-24"), ("2026-11-24", "2026-11-24"), ("2026-11-23", "2026-11-25"),
    ("2026-11-25", "2026-11-24"), ("2026-11-22", "2026-11-22"),
]  # fmt: skip


def day_of(number: int) -> date:
    return (FIRST + (number - 1) * STEP).astimezone(IST).date()


async def test_days_are_indian_and_whole(replicas: Replicas, asha: Trader) -> None:
    every = await written_events(asha, replicas)
    for first, last in DAYS:
        asked = ({"from": first} if first else {}) | ({"to": last} if last else {})
        expected = [each for each in every if (first or "0") <= day_of(each).isoformat() <= (last or "9")]
        assert await ids(asha, **asked) == expected
        found = await pages(asha, **asked, limit=5)
        assert [each for page in found for each in page] == expected


async def test_a_moment_is_inclusive_at_its_beginning_and_exclusive_at_its_end(
    replicas: Replicas, asha: Trader
) -> None:
    await written_events(asha, replicas)
    tenth, twentieth = FIRST + 9 * STEP, FIRST + 19 * STEP
    assert await ids(asha, **{"from": tenth.isoformat(), "to": twentieth.isoformat()}) == list(range(10, 20))
    indian = {"from": tenth.astimezone(IST).isoformat(), "to": (twentieth + timedelta(microseconds=1)).isoformat()}
    assert await ids(asha, **indian) == list(range(10, 21))
    assert await ids(asha, **indian, since=15) == list(range(16, 21))


async def test_midnight_of_a_moment_is_that_moment(replicas: Replicas, asha: Trader) -> None:
    await written_events(asha, replicas)
    found = await ids(asha, to="2026-11-24T00:00:00Z")
    assert found == [
        each for each in range(1, COUNT + 1) if FIRST + (each - 1) * STEP < datetime(2026, 11, 24, tzinfo=UTC)
    ]


# --- what can't be ----------------------------------------------------------------------------------------------------


WRONG: list[tuple[str, list[Any]]] = [
    ("cursor", ["x", "-1", "1.5", "\u0661", "1" * 19, "1" * 201]), ("since", [-1, "x", 2**63, 10**30]),
    ("from", ["x", "2026-11-31", "1999-12-31", "1764000000", "2026-11-24T10:00:00"]),
    ("to", ["x", "1900-01-01", "9999-12-31", "2026-11-24T10:00:00"]), ("limit", [0, 201, -1, "x"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), WRONG, ids=[name for name, _ in WRONG])
async def test_what_can_not_be_asked_for_is_named(asha: Trader, name: str, values: list[Any]) -> None:
    for value in values:
        assert pointers(await asha.get(PATH, params={name: value})) == [f"/query/{name}"], value


async def test_nobody_reads_events_without_a_session(replicas: Replicas) -> None:
    async with Browser(replicas.first) as stranger:
        answer = await stranger.get(PATH)
    assert (answer.status_code, slug(answer)) == (401, "not-signed-in")


# --- whose, and at what price -----------------------------------------------------------------------------------------


async def test_another_users_events_are_never_shown(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    """Though the broker gave both an order of the same number."""
    broker.add_investor("ZZ9999")
    await asha.get("/v1/orders")
    mine = await asha.placed()
    await asha.get("/v1/orders", headers=FRESH)
    async with Trader(replicas.second, "ZZ9999") as zoya:
        await zoya.sign_in(broker, "ZZ9999")
        assert await listed(zoya) | {"asOf": None} == {
            "orderEvents": [], "asOf": None, "nextCursor": None, "lastEventId": 0,
        }  # fmt: skip
        await zoya.get("/v1/orders")
        await replicas.store.rows.execute(
            "INSERT INTO seen_orders (user_id, order_no, intent_id, trading_day, first_seen_at, last_changed_at)"
            " SELECT 'ZZ9999', order_no, intent_id, trading_day, now(), now() FROM seen_orders WHERE order_no = $1",
            mine,
        )
        hers, his = await listed(zoya, limit=200), await listed(asha, limit=200)
    assert mine not in {each["order"]["orderNo"] for each in hers["orderEvents"]}
    assert [each["order"]["orderNo"] for each in his["orderEvents"]].count(mine) == 1
    for page in (hers, his):
        assert [each["id"] for each in page["orderEvents"]] == list(range(1, page["lastEventId"] + 1))


@pytest.fixture
async def quiet(service: Service, broker: SimulatedBroker) -> AsyncIterator[Browser]:
    """Give an investor of a service that polls only for who listens or has an open order; he has neither."""
    broker.add_investor("QUIET1", like="EMPTY01")
    async with signed_in(service, broker, "QUIET1") as browser:
        yield browser


async def test_the_list_costs_no_call_to_the_broker(quiet: Browser, broker: SimulatedBroker) -> None:
    before = len(broker.received())
    for asked in ({}, {"since": 0}, {"from": "2026-11-24"}, {"cursor": "3"}):
        assert (await quiet.get(PATH, params=asked, headers=FRESH)).status_code == 200
    assert len(broker.received()) == before


async def test_the_list_is_shown_without_a_broker_session(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await asha.get("/v1/orders")
    before = await listed(asha)
    broker.expire()
    assert slug(await asha.get("/v1/orders", headers=FRESH)) == "broker-session-expired"
    after = await listed(asha)
    assert before["orderEvents"]
    assert after["orderEvents"] == before["orderEvents"]


async def test_a_background_question_for_events_keeps_nobody_signed_in(quiet: Browser, clock: SettableClock) -> None:
    for _ in range(3):
        clock.advance(timedelta(minutes=9))
        assert (await quiet.get(PATH, headers={"X-Background": "true"})).status_code == 200
    clock.advance(timedelta(minutes=4))
    assert slug(await quiet.get(PATH, headers={"X-Background": "true"})) == "session-expired"


async def test_a_persons_question_for_events_keeps_him_signed_in(quiet: Browser, clock: SettableClock) -> None:
    for _ in range(4):
        clock.advance(timedelta(minutes=20))
        assert (await quiet.get(PATH)).status_code == 200


# --- what an event says -----------------------------------------------------------------------------------------------


async def test_the_order_of_an_event_is_the_row_of_the_book(replicas: Replicas, asha: Trader) -> None:
    answer = await asha.place()
    placement_id = answer.json()["placementId"]
    [placed] = answer.json()["orders"]
    book = (await asha.get("/v1/orders", headers=FRESH)).json()["orders"]
    told = {each["order"]["orderNo"]: each["order"] for each in (await listed(asha, limit=200))["orderEvents"]}
    assert told[placed["orderNo"]]["placementId"] == placement_id
    assert [told[each["orderNo"]] for each in book] == book


async def test_an_order_whose_placement_is_found_out_later_is_told_with_it(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(remarksIn="book")
    broker.break_call("place", "reset", after=True, times=1)
    placement_id = (await asha.place()).json()["placementId"]
    await asha.becomes(placement_id, "accepted")
    [order] = (await asha.placement(placement_id))["orders"]
    [event] = [each for each in (await listed(asha, limit=200))["orderEvents"]
               if each["order"]["orderNo"] == order["orderNo"]]  # fmt: skip
    assert event["order"]["placementId"] == placement_id
    assert event["order"] == await asha.order(order["orderNo"])


async def test_each_event_has_its_changes_and_its_moments(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    number = await asha.placed()
    await asha.get("/v1/orders", headers=FRESH)
    await asha.modify(number, {"price": "14.05"})
    broker.order_switches(fillAtMost=4)
    await asha.get("/v1/orders", headers=FRESH)
    broker.set_price("YESBANK-EQ", "13.00")
    page = await events_of(asha, number)
    assert [each["type"] for each in page] == ["OPEN", "MODIFIED", "PARTLY_FILLED"]
    assert page[0]["changes"] == []
    assert page[1]["changes"] == [{"field": "price", "before": "14.00", "now": "14.05"}]
    assert {"field": "filledQuantity", "before": 0, "now": 4} in page[2]["changes"]
    assert {"field": "pendingQuantity", "before": 10, "now": 6} in page[2]["changes"]
    moments = [datetime.fromisoformat(each["seenAt"]) for each in page]
    assert moments == sorted(moments)
    for each in page:
        at = datetime.fromisoformat(each["brokerAt"])
        assert timedelta(0) <= datetime.fromisoformat(each["seenAt"]) - at < timedelta(minutes=1)


async def events_of(asha: Trader, number: str) -> list[dict[str, Any]]:
    """Read the book afresh and return what the list says of one order."""
    await asha.get("/v1/orders", headers=FRESH)
    return [each for each in (await listed(asha, limit=200))["orderEvents"] if each["order"]["orderNo"] == number]


async def test_the_description_shows_an_answer_that_there_may_be(asha: Trader) -> None:
    document = (await asha.get("/openapi.json")).json()
    answer = document["paths"][PATH]["get"]["responses"]["200"]["content"]["application/json"]
    name = answer["schema"]["$ref"].rpartition("/")[2]
    assert name == "OrderEventList"
    shown = document["components"]["schemas"][name].get("examples") or [answer.get("example")]
    assert shown == [EXAMPLES[name]]
    assert OrderEventList.model_validate(shown[0]).model_dump(mode="json") == shown[0]
    await asha.get("/v1/orders")
    assert OrderEventList.model_validate(await listed(asha)).order_events
