"""What happens seldom and costs most: somebody asleep in a decision, an old reading that comes late, a bad commit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.broker.wire import book_row
from app.order_updates.store import last_event
from app.orderbook.recording import Sight, find_known, write_sight
from app.problems import TemporarilyUnavailable
from app.safeguards.audit import Ledger
from tests.support.configured import configured
from tests.support.investor import slug
from tests.support.ledgers import RING, opened
from tests.support.lines import line_to_socket
from tests.support.replicas import CONVERSION, PUBLIC, Replicas, Trader
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker


async def test_somebody_asleep_within_a_decision_keeps_no_cancel_waiting_for_long(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """Whoever freezes while he holds the user's chain of the ledger is ended by the database, and the cancel passes."""
    order_no = await asha.placed()
    db = opened(replicas.database_url)

    async def cancel_while_asleep() -> None:
        async with db.transaction() as tx:
            await Ledger(RING).lock(tx, "AB1234")
            assert (await asha.delete(f"/v1/orders/{order_no}")).status_code == 200

    with pytest.raises(TemporarilyUnavailable):
        await cancel_while_asleep()
    await db.aclose()
    assert len(broker.received("cancel")) == 1


async def test_whoever_holds_a_chain_may_not_fall_asleep_on_it(replicas: Replicas) -> None:
    db = opened(replicas.database_url)
    async with db.transaction() as tx:
        await Ledger(RING).lock(tx, "AB1234")
        setting = (await tx.exec_driver_sql("SHOW idle_in_transaction_session_timeout")).scalar_one()
    async with db.transaction() as tx:
        after = (await tx.exec_driver_sql("SHOW idle_in_transaction_session_timeout")).scalar_one()
    await db.aclose()
    assert (setting, after) == ("5s", "0")


async def test_an_old_reading_that_comes_late_takes_no_refusal_back(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(rejectNext={"reason": "RED:late", "afterSeconds": 1})
    placement_id = (await asha.place()).json()["placementId"]
    await asha.becomes(placement_id, "accepted", such_that=lambda found: found["orders"][0]["status"] == "REJECTED")
    number = (await asha.placement(placement_id))["orders"][0]["orderNo"]
    late = book_row({"orderno": number, "tradingsymbol": "IDEA-EQ", "qty": "10", "orderstatus": "PENDING"}, "remarks")
    db = opened(replicas.database_url)
    async with db.transaction() as tx:
        day = datetime.now(UTC).date()  # noqa: TID251  # a day of the machine's
        last = await last_event(tx, "AB1234")
        assert not await write_sight(tx, Sight("AB1234", [late], day, last - 1), {})
        assert not await write_sight(
            tx, Sight("AB1234", [late], day, last), await find_known(tx, Sight("AB1234", [late], day, last))
        )
    await db.aclose()
    [order] = (await asha.placement(placement_id))["orders"]
    assert (order["status"], order["rejectionReason"]) == ("REJECTED", "RED:late")


async def test_a_wanted_cancel_that_is_refused_is_tried_three_times_and_then_left(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(remarksIn="book")
    broker.break_call("place", "reset", after=True, times=1)
    placement_id = (await asha.place()).json()["placementId"]
    broker.break_call("cancel", "notOk")
    assert (await asha.delete(f"/v1/placements/{placement_id}")).status_code == 202
    for _ in range(6):
        await replicas.store.looked()
    assert len(broker.received("cancel")) == 3
    assert (await asha.placement(placement_id))["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [({"exchange": "MCX"}, "/exchange"), ({"exchange": "NFO"}, "/exchange"), ({"toProduct": "MTF"}, "/toProduct")],
)
async def test_a_conversion_asks_what_an_order_asks(
    broker: SimulatedBroker, asha: Trader, changed: dict[str, Any], pointer: str
) -> None:
    answer = await asha.act("POST", "/v1/positions/convert", CONVERSION | changed)
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert broker.received("convert") == []


async def test_a_moment_at_midnight_is_a_moment_and_no_day(asha: Trader, replicas: Replicas) -> None:
    placement_id = (await asha.place()).json()["placementId"]
    begun = (await replicas.store.intent(placement_id))["created_at"]
    midnight = f"{begun:%Y-%m-%d}T00:00:00Z"

    async def listed(**asked: str) -> int:
        return len((await asha.get("/v1/placements", params=asked)).json()["placements"])

    assert (await listed(**{"from": midnight}), await listed(to=midnight)) == (1, 0)


async def test_a_commit_that_breaks_sends_nothing_and_leaves_the_key_free(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """Whether it was committed nobody was told; nothing has left, and nothing will."""
    rows = replicas.store.rows
    await rows.execute(
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.2); PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    await rows.execute(
        "CREATE CONSTRAINT TRIGGER lost_at_commit AFTER INSERT ON intents DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION hang_up()"
    )
    try:
        answer = await asha.place("lost")
    finally:
        await rows.execute("DROP TRIGGER lost_at_commit ON intents")
        await rows.execute("DROP FUNCTION hang_up")
    assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
    assert broker.received("place") == []
    again = await asha.place("lost")
    assert again.status_code == 201  # it was not committed this time: the key is free, and used once
    assert len(broker.received("place")) == 1


async def test_an_intent_whose_commit_was_never_acknowledged_is_known_not_to_have_been_sent(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, tmp_path: Path
) -> None:
    """It stands in the database, and only its sender knows that nothing has left."""
    [folder] = parse_qs(urlsplit(replicas.database_url).query)["host"]
    async with line_to_socket(Path(folder) / ".s.PGSQL.5432", tmp_path) as line:
        url = replicas.database_url.replace(folder, str(tmp_path))
        async with serving(configured(url, broker.url, PUBLIC)) as behind:
            line.lose_answer_to = (b"INSERT INTO intents", b"COMMIT")
            answer = await asha.place("unheard", at=behind)
    assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
    assert line.lost == 1
    assert broker.received("place") == []
    again = await asha.place("unheard")
    assert (again.status_code, slug(again), again.json()["reason"]) == (422, "order-refused", "not-sent")
    assert (await asha.place("another")).status_code == 201


async def test_a_book_that_lacks_what_it_has_shown_makes_no_order_absent(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """The echo is proven by an order that the book showed; a book without that one is not the whole book."""
    await asha.placed(quantity=1)
    broker.order_switches(remarksIn="history", shownAfterSeconds=600)
    broker.break_call("place", "reset", times=1)
    placement_id = (await asha.place()).json()["placementId"]
    await replicas.store.looked()
    await replicas.store.rows.execute("UPDATE watches SET echo_seen_on = (now() AT TIME ZONE 'Asia/Kolkata')::date")
    await replicas.store.rows.execute(
        "INSERT INTO seen_orders (user_id, order_no, trading_day, status, first_seen_at, last_changed_at)"
        " VALUES ('AB1234', '99999999999999', (now() AT TIME ZONE 'Asia/Kolkata')::date, 'OPEN', now(), now())"
    )
    await replicas.store.age(placement_id, minutes=20)
    await replicas.store.looked()
    await replicas.store.age(placement_id, minutes=20)
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["outcome"] == "unknown"
    await replicas.store.rows.execute("DELETE FROM seen_orders WHERE order_no = '99999999999999'")
    await replicas.store.looked()
    await replicas.store.age(placement_id, minutes=20)
    await replicas.store.looked()
    assert (await asha.placement(placement_id))["outcome"] == "refused"


@pytest.mark.parametrize("fault", ["http429", "limitText"])
async def test_a_wanted_cancel_that_the_broker_puts_off_is_not_given_up(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, fault: str
) -> None:
    broker.order_switches(remarksIn="book")
    broker.break_call("place", "reset", after=True, times=1)
    placement_id = (await asha.place()).json()["placementId"]
    broker.break_call("cancel", fault)
    await asha.delete(f"/v1/placements/{placement_id}")
    for _ in range(5):
        await replicas.store.forget_pauses()
        await replicas.store.looked()
    assert len(broker.received("cancel")) >= 4
    broker.mend()
    await replicas.store.forget_pauses()
    await replicas.store.looked()
    [order] = broker.taken()
    assert (await asha.order(order["orderNo"]))["status"] == "CANCELLED"
