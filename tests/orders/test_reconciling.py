"""What the reconciler may conclude from the broker's book, and what it may not: absence is not refusal."""

import asyncio
from typing import Any

import httpx
import pytest

from simulator.calls import ORDER_PATHS
from tests.conftest import create_clone
from tests.simulator.trader import an_order
from tests.support.investor import slug
from tests.support.replicas import Replicas, Trader, fresh_key, received, replicated, trading, until
from tests.support.simulated import SimulatedBroker


async def unknown(asha: Trader, broker: SimulatedBroker, *, taken: bool, **changed: Any) -> str:
    """Place an order whose answer is lost, whether or not the broker took it; return the placement's id."""
    broker.break_call("place", "reset", times=1, after=taken)
    answer = await asha.place(**changed)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    return str(answer.json()["placementId"])


def placed_elsewhere(broker: SimulatedBroker, **changed: str) -> str:
    """Place an order at the broker past the service, as its own app would, and return its number."""
    token = next(
        each["headers"]["authorization"] for each in reversed(broker.received()) if each["userId"] == "AB1234"
        and "authorization" in each["headers"]
    )  # fmt: skip
    url, headers = f"{broker.url}{ORDER_PATHS['place'][0]}", {"Authorization": token}
    answer = httpx.post(url, json=[an_order(**{"tradingSymbol": "YESBANK-EQ"} | changed)], headers=headers)
    number: str = answer.json()[0]["result"][0]["orderNo"]
    return number


async def state_of(replicas: Replicas, placement_id: str) -> tuple[str, str | None]:
    intent = await replicas.store.intent(placement_id)
    return intent["state"], intent["reason"]


async def looked_after(replicas: Replicas, placement_id: str, minutes: int) -> tuple[str, str | None]:
    """Let minutes pass for a placement, have the book looked at, and return what is known then."""
    await replicas.store.age(placement_id, minutes)
    await replicas.store.looked()
    return await state_of(replicas, placement_id)


async def test_an_unknown_order_is_looked_after_at_once(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placement_id = await unknown(asha, broker, taken=True)
    await asha.becomes(placement_id, "accepted")
    intent = await replicas.store.intent(placement_id)
    assert intent["resolved_by"] == "book"
    assert intent["resolved_at"] < intent["doubtful_at"]


@pytest.mark.parametrize(("age", "pause"), [(0, 5), (120, 15), (1800, 60), (7200, 300)])
async def test_looks_come_often_at_first_and_more_rarely_later(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, age: int, pause: int
) -> None:
    await unknown(asha, broker, taken=False)
    rows = replicas.store.rows
    await rows.execute("UPDATE watches SET watched_since = now() - make_interval(secs => $1)", age)
    await replicas.store.looked()
    planned = await rows.fetchval("SELECT extract(epoch FROM next_look_at - now())::float FROM watches")
    assert pause - 2 < planned <= pause


async def test_without_an_echo_no_absence_is_a_refusal(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placement_id = await unknown(asha, broker, taken=False)
    for minutes in (0, 4, 10, 120):
        assert await looked_after(replicas, placement_id, minutes) == ("unknown", "not-in-the-book")
    assert (await asha.placement(placement_id))["candidates"] == []


async def test_without_an_echo_today_yesterdays_does_not_count(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placement_id = await unknown(asha, broker, taken=False)
    await replicas.store.rows.execute("UPDATE watches SET echo_seen_on = current_date - 1")
    for minutes in (6, 6, 6):
        assert await looked_after(replicas, placement_id, minutes) == ("unknown", "not-in-the-book")


@pytest.mark.parametrize("remarks_in", ["history", "book"])
async def test_with_an_echo_five_minutes_of_absence_are_a_refusal(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, remarks_in: str
) -> None:
    broker.order_switches(remarksIn=remarks_in)
    await asha.placed(quantity=3)
    key = fresh_key()
    broker.break_call("place", "reset", times=1)
    placement_id = (await asha.place(key)).json()["placementId"]
    assert await looked_after(replicas, placement_id, 1) == ("unknown", "not-in-the-book")
    assert await looked_after(replicas, placement_id, 4) == ("unknown", "not-in-the-book")
    assert await looked_after(replicas, placement_id, 1) == ("refused", "not-found-at-broker")
    answer = await asha.place(key, at=replicas.second)
    assert (answer.status_code, slug(answer)) == (422, "order-refused")
    assert (answer.json()["reason"], answer.json()["placementId"]) == ("not-found-at-broker", placement_id)
    assert (await replicas.store.intent(placement_id))["resolved_by"] == "book"
    assert (await asha.place()).status_code == 201, "its equal may be placed now"
    assert len(broker.received("place")) == 3


async def test_a_read_before_the_sender_is_given_up_does_not_count(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await asha.placed(quantity=3)
    placement_id = await unknown(asha, broker, taken=False)
    await replicas.store.rows.execute("UPDATE intents SET doubtful_at = doubtful_at + interval '1 hour'")
    await replicas.store.looked()
    assert (await replicas.store.intent(placement_id))["absent_since"] is None


async def test_a_later_sighting_overrides_a_refusal_and_alerts(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, caplog: pytest.LogCaptureFixture
) -> None:
    await asha.placed(quantity=3)
    broker.order_switches(shownAfterSeconds=600)
    placement_id = await unknown(asha, broker, taken=True)
    for minutes in (1, 6):
        state = await looked_after(replicas, placement_id, minutes)
    assert state == ("refused", "not-found-at-broker")
    broker.clear_order_switches()
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    assert [each["orderNo"] for each in placement["orders"]] == [broker.taken()[1]["orderNo"]]
    [alert] = [each for each in caplog.records if "refused_order_found" in str(each.msg)]
    assert alert.levelname == "ERROR"
    outcomes = [each["outcome"] for each in await replicas.store.ledger("place-outcome")]
    assert outcomes == ["accepted", "unknown", "refused", "accepted"]


async def test_a_book_with_a_row_that_names_no_order_does_not_count(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await asha.placed(quantity=3)
    placement_id = await unknown(asha, broker, taken=False)
    await looked_after(replicas, placement_id, 1)
    broker.order_switches(bookWithoutOrderNo=True)
    for _ in range(2):
        assert await looked_after(replicas, placement_id, 10) == ("unknown", "not-in-the-book")
        assert (await replicas.store.intent(placement_id))["absent_since"] is None
    broker.clear_order_switches()
    assert await looked_after(replicas, placement_id, 10) == ("unknown", "not-in-the-book"), "the count begins anew"
    assert await looked_after(replicas, placement_id, 5) == ("refused", "not-found-at-broker")


@pytest.mark.parametrize("fault", ["http500", "reset", "html200", "limitText", "emptyList"])
async def test_a_read_that_failed_does_not_count(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    await asha.placed(quantity=3)
    await asha.get("/v1/orders")
    broker.break_call("orderBook", fault)
    placement_id = await unknown(asha, broker, taken=False)
    for minutes in (1, 10):
        assert (await looked_after(replicas, placement_id, minutes))[0] == "unknown"
        assert (await replicas.store.intent(placement_id))["absent_since"] is None
    broker.mend()
    assert (await looked_after(replicas, placement_id, 10))[0] == "unknown"


async def test_an_empty_book_counts_as_one_without_the_order(replicas: Replicas, broker: SimulatedBroker) -> None:
    async with trading(replicas.first, broker, "EMPTY01") as esha:
        broker.break_call("place", "reset", user="EMPTY01", times=1)
        placement_id = (await esha.place(transactionType="SELL", price="14.50")).json()["placementId"]
        await replicas.store.rows.execute("UPDATE watches SET echo_seen_on = (now() AT TIME ZONE 'Asia/Kolkata')::date")
        for minutes in (1, 6):
            await replicas.store.age(placement_id, minutes)
            await replicas.store.looked("EMPTY01")
        assert await state_of(replicas, placement_id) == ("refused", "not-found-at-broker")


@pytest.mark.parametrize("taken", [True, False])
async def test_the_book_of_another_day_tells_nothing(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, *, taken: bool
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    placement_id = await unknown(asha, broker, taken=taken)
    await replicas.store.looked()
    await replicas.store.rows.execute("UPDATE intents SET trading_day = trading_day - 1")
    broker.clear_order_switches()
    asked = len(broker.received("orderBook"))
    assert await looked_after(replicas, placement_id, 24 * 60) == ("unknown", "trading-day-over")
    assert len(broker.received("orderBook")) == asked
    assert (await replicas.store.intent(placement_id))["is_watched"] is False
    placement = await asha.placement(placement_id)
    assert (placement["outcome"], placement["reason"], placement["orders"]) == ("unknown", "trading-day-over", [])


async def test_a_broker_session_that_is_gone_is_said_and_the_next_one_is_used(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    placement_id = await unknown(asha, broker, taken=True)
    await replicas.store.looked()
    broker.expire()
    broker.clear_order_switches()
    await replicas.store.looked()
    assert await state_of(replicas, placement_id) == ("unknown", "broker-session-expired")
    assert await replicas.store.rows.fetchval("SELECT next_look_at FROM watches") is None
    asked = len(broker.received("orderBook"))
    await replicas.store.looked()
    assert len(broker.received("orderBook")) == asked, "a dead token is not sent again"
    await asha.sign_in(broker)
    await asha.becomes(placement_id, "accepted")


async def test_a_replica_that_died_in_the_middle_of_a_look_is_replaced_when_its_lease_ends(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    async with trading(replicas.second, broker, "FO5678") as farhan:
        await farhan.place()
        broker.order_switches(shownAfterSeconds=600)
        placement_id = await unknown(asha, broker, taken=True)
        await replicas.store.looked()
        broker.clear_order_switches()
        await replicas.store.rows.execute(
            "UPDATE watches SET lease_until = now() + interval '1 hour', next_look_at = now() WHERE user_id = 'AB1234'"
        )
        for _ in range(3):
            await replicas.store.looked("FO5678")
        assert (await state_of(replicas, placement_id))[0] == "unknown", "nobody looks while another has the lease"
    await replicas.store.rows.execute("UPDATE watches SET lease_until = now() WHERE user_id = 'AB1234'")
    await asha.becomes(placement_id, "accepted")


async def test_an_order_of_another_origin_is_a_candidate_and_keeps_it_open(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await asha.placed(quantity=3)
    placement_id = await unknown(asha, broker, taken=False)
    number = placed_elsewhere(broker)
    for minutes in (1, 10, 10):
        state = await looked_after(replicas, placement_id, minutes)
        assert state == ("unknown", "may-be-one-of-candidates")
    assert (await asha.placement(placement_id))["candidates"] == [number]
    read = [each["body"]["orderNo"] for each in broker.received("orderHistory")]
    assert read.count(number) == 1


@pytest.mark.parametrize(
    ("changed", "is_candidate"),
    [({}, True), ({"qty": "4"}, True), ({"price": "13.90"}, True), ({"tradingSymbol": "YESBANK-BE"}, False),
     ({"transType": "S"}, False),
     ({"tradingSymbol": "WIPRO-EQ"}, False), ({"exchange": "BSE"}, False), ({"remarks": "another vendor"}, False)],
)  # fmt: skip
async def test_what_might_be_a_slice_of_it_is_a_candidate(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, changed: dict[str, str], *, is_candidate: bool
) -> None:
    placement_id = await unknown(asha, broker, taken=False)
    number = placed_elsewhere(broker, **changed)
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["candidates"] == ([number] if is_candidate else [])


async def test_an_order_older_than_the_placement_is_no_candidate(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placed_elsewhere(broker)
    placement_id = await unknown(asha, broker, taken=False)
    await replicas.store.rows.execute("UPDATE intents SET created_at = created_at + interval '3 minutes'")
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["candidates"] == []


async def test_an_equal_order_that_was_meant_is_told_from_the_unknown_one(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placement_id = await unknown(asha, broker, taken=True)
    meant = (await asha.place(allowDuplicate=True)).json()
    await replicas.store.ask_for_a_look()
    placement = await asha.becomes(placement_id, "accepted")
    first, second = (each["orderNo"] for each in broker.taken())
    assert [each["orderNo"] for each in placement["orders"]] == [first]
    assert [each["orderNo"] for each in meant["orders"]] == [second]


@pytest.mark.parametrize("switches", [{}, {"freezeQuantity": 4}], ids=["whole", "sliced"])
async def test_an_unknown_placement_can_be_cancelled_before_anybody_knows_what_it_is(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, switches: dict[str, Any]
) -> None:
    broker.order_switches(shownAfterSeconds=600, **switches)
    placement_id = await unknown(asha, broker, taken=True)
    answer = await asha.delete(f"{replicas.second.url}/v1/placements/{placement_id}")
    assert (answer.status_code, answer.json()["outcome"], answer.json()["cancellations"]) == (202, "unknown", [])
    await replicas.store.looked()
    assert broker.received("cancel") == []
    broker.clear_order_switches()
    numbers = {each["orderNo"] for each in broker.taken()}

    async def is_cancelled() -> bool:
        await replicas.store.looked()
        return {each["status"] for each in broker.taken()} == {"CANCELED"}

    await until(is_cancelled)
    for _ in range(2):
        await replicas.store.looked()
    cancelled = [each["body"][0]["orderNo"] for each in broker.received("cancel")]
    assert sorted(cancelled) == sorted(numbers), "one cancel for each order"
    placement = await asha.placement(placement_id)
    assert (placement["outcome"], {each["status"] for each in placement["orders"]}) == ("accepted", {"CANCELLED"})


async def test_a_cancel_that_was_asked_for_during_a_look_is_not_forgotten(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    placement_id = await unknown(asha, broker, taken=True)
    await replicas.store.looked()
    broker.clear_order_switches()
    asked = len(broker.received("orderBook"))
    broker.break_call("orderBook", "slow", times=1, seconds=0.8)
    await replicas.store.ask_for_a_look()
    await received(broker, "orderBook", asked + 1)
    answer = await asha.delete(f"/v1/placements/{placement_id}")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    await asha.becomes(placement_id, "accepted")

    async def is_cancelled() -> bool:
        return bool(broker.taken()[0]["status"] == "CANCELED")

    await until(is_cancelled)
    assert len(broker.received("cancel")) == 1


async def test_a_cancel_that_was_asked_for_while_the_order_is_sent_is_not_forgotten(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "slow", times=1, seconds=0.5, after=True)
    placing = asyncio.create_task(asha.place())
    await received(broker, "place")
    [intent] = await replicas.store.intents()
    answer = await asha.delete(f"{replicas.second.url}/v1/placements/{intent['id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    assert (await placing).status_code == 201

    async def is_cancelled() -> bool:
        await replicas.store.looked()
        return bool(broker.taken()[0]["status"] == "CANCELED")

    await until(is_cancelled)
    assert len(broker.received("cancel")) == 1


async def test_a_cancel_that_the_broker_refuses_is_tried_again_and_an_unknown_one_is_not(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    placement_id = await unknown(asha, broker, taken=True)
    await asha.delete(f"/v1/placements/{placement_id}")
    broker.clear_order_switches()
    broker.order_switches(refuseNext="SAF:not now")
    broker.break_call("cancel", "reset", times=1)
    for _ in range(4):
        await replicas.store.looked()
    assert len(broker.received("cancel")) == 1, "the fault of the line comes first, and what is unknown is not repeated"
    await replicas.store.rows.execute(
        "UPDATE intents SET state = 'refused', resolved_at = now(), resolved_by = 'book' WHERE action = 'CANCEL'"
    )
    for _ in range(3):
        await replicas.store.looked()
    assert len(broker.received("cancel")) == 3
    assert broker.taken()[0]["status"] == "CANCELED"


async def test_an_accepted_placement_is_cancelled_order_by_order(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(freezeQuantity=4)
    placement = (await asha.place()).json()
    answer = await asha.delete(f"{replicas.second.url}/v1/placements/{placement['placementId']}")
    assert answer.status_code == 200
    assert [(each["orderNo"], each["outcome"]) for each in answer.json()["cancellations"]] == [
        (each["orderNo"], "accepted") for each in placement["orders"]
    ]
    assert {each["status"] for each in broker.taken()} == {"CANCELED"}
    assert len(broker.received("cancel")) == 3


@pytest.mark.parametrize("taken", [True, False])
async def test_an_unknown_modification_is_followed_up(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, *, taken: bool
) -> None:
    order_no = await asha.placed()
    broker.break_call("modify", "reset", times=1, after=taken)
    key = fresh_key()
    answer = await asha.modify(order_no, {"price": "13.95", "quantity": 8}, key)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    placement_id = answer.json()["placementId"]
    await replicas.store.looked()
    if not taken:
        assert (await asha.placement(placement_id))["outcome"] == "unknown", "it may still arrive"
        broker.set_price("YESBANK-EQ", "13.90")
        await replicas.store.looked()
    again = await asha.modify(order_no, {"price": "13.95", "quantity": 8}, key, at=replicas.second)
    assert again.status_code == (200 if taken else 422)
    if not taken:
        assert again.json()["reason"] == "The order is COMPLETE."
    assert len(broker.received("modify")) == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_an_unknown_cancel_is_followed_up(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, *, taken: bool
) -> None:
    order_no = await asha.placed()
    broker.break_call("cancel", "reset", times=1, after=taken)
    headers = {"Idempotency-Key": fresh_key()}
    answer = await asha.delete(f"/v1/orders/{order_no}", headers=headers)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    await replicas.store.looked()
    if not taken:
        assert (await asha.placement(answer.json()["placementId"]))["outcome"] == "unknown"
        broker.set_price("YESBANK-EQ", "13.90")
        await replicas.store.looked()
    again = await asha.delete(f"/v1/orders/{order_no}", headers=headers)
    assert again.status_code == (200 if taken else 422)
    if not taken:
        assert again.json()["reason"] == "The order is COMPLETE already."
    assert len(broker.received("cancel")) == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_an_unknown_conversion_is_followed_up(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, *, taken: bool
) -> None:
    broker.break_call("convert", "reset", times=1, after=taken)
    key = fresh_key()
    answer = await asha.convert(key)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "unknown")
    for _ in range(2):
        await replicas.store.looked()
    again = await asha.convert(key, at=replicas.second)
    assert again.status_code == (200 if taken else 202)
    assert len(broker.received("convert")) == 1


async def test_a_modification_that_was_dead_on_arrival_is_not_looked_after(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    order_no = await asha.placed()
    broker.break_call("modify", "dead401Text", times=1)
    answer = await asha.modify(order_no, {"price": "13.95"})
    assert (answer.status_code, slug(answer)) == (401, "broker-session-expired")
    await asha.sign_in(broker)
    await replicas.store.looked()
    assert (await asha.placement(answer.json()["placementId"]))["outcome"] == "refused"


async def test_trouble_with_the_positions_keeps_no_order_from_being_found(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("convert", "reset", times=1)
    assert (await asha.convert()).status_code == 202
    broker.break_call("positions", "http500")
    placement_id = await unknown(asha, broker, taken=True)
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["outcome"] == "accepted"


async def test_trouble_with_one_history_keeps_no_other_from_being_read(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    first = await unknown(asha, broker, taken=True)
    second = await unknown(asha, broker, taken=True, quantity=9)
    broker.break_call("orderHistory", "http500", times=1)
    await replicas.store.looked()
    await replicas.store.looked()
    assert [(await asha.placement(each))["outcome"] for each in (first, second)] == ["accepted", "accepted"]


async def test_a_fault_of_the_database_that_nobody_expected_ends_no_reconciler(
    broker: SimulatedBroker, worker: str
) -> None:
    """A table is away for a moment, as a migration may have it; the replicas meet that, and go on."""
    url = await create_clone(f"migrated_{worker}")
    async with replicated(url, broker.url) as replicas, trading(replicas.first, broker) as asha:
        placement_id = await unknown(asha, broker, taken=True)
        rows = replicas.store.rows
        await rows.execute("ALTER TABLE watches RENAME TO watches_away")
        away_since = await rows.fetchval("SELECT clock_timestamp()")

        async def have_met_it() -> bool:
            failed = await rows.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'ROLLBACK;'"
                " AND query_start > $1", away_since
            )  # fmt: skip
            return bool(failed >= 4)

        await until(have_met_it)
        await rows.execute("ALTER TABLE watches_away RENAME TO watches")
        await asha.becomes(placement_id, "accepted")
