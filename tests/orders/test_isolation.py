"""What belongs to one investor is not there for another: nothing is shown of it, and nothing is sent about it."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.investor import slug
from tests.support.replicas import CONVERSION, ORDER, Replicas, Trader, fresh_key, trading
from tests.support.simulated import SimulatedBroker

PATCH = {"price": "13.90"}


@pytest.fixture
async def farhan(replicas: Replicas, broker: SimulatedBroker) -> AsyncIterator[Trader]:
    async with trading(replicas.second, broker, "FO5678") as trader:
        yield trader


def sent_by(broker: SimulatedBroker, user: str) -> list[str]:
    """Return the calls that reached the broker in a user's name, beside those of a sign-in."""
    return [
        each["call"] for each in broker.received()
        if each["userId"] == user and each["call"] not in {"exchange", "profile"}
    ]  # fmt: skip


def beside_looks(broker: SimulatedBroker, user: str) -> list[str]:
    """Return the same without the book, which the service itself looks at while an order is open."""
    return [each for each in sent_by(broker, user) if each != "orderBook"]


async def test_somebody_elses_order_is_not_there(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, farhan: Trader
) -> None:
    placed = (await asha.place()).json()
    await replicas.store.looked()  # after which nobody has to look after it any more
    order_no, placement_id = placed["orders"][0]["orderNo"], placed["placementId"]
    await asha.get("/v1/orders")
    before = beside_looks(broker, "AB1234")
    for answer in (
        await farhan.get(f"/v1/orders/{order_no}"),
        await farhan.modify(order_no, PATCH),
        await farhan.delete(f"/v1/orders/{order_no}"),
        await farhan.delete(f"/v1/orders/{order_no}", headers={"Idempotency-Key": fresh_key()}),
        await farhan.get(f"/v1/placements/{placement_id}"),
        await farhan.delete(f"/v1/placements/{placement_id}"),
        await farhan.get(f"/v1/placements/{uuid.uuid4()}"),
        await farhan.delete(f"/v1/placements/{uuid.uuid4()}"),
    ):
        assert (answer.status_code, slug(answer)) == (404, "not-found")
        assert order_no not in answer.text
    assert set(sent_by(broker, "FO5678")) <= {"orderBook"}, "his own book is all that was asked for"
    assert beside_looks(broker, "AB1234") == before, "nobody acts in her name"
    assert (await asha.order(order_no))["status"] == "OPEN"


async def test_a_guessed_modification_or_cancel_of_hers_is_not_there_either(
    broker: SimulatedBroker, asha: Trader, farhan: Trader
) -> None:
    order_no = await asha.placed()
    changed = (await asha.modify(order_no, PATCH)).json()
    cancelled = (await asha.delete(f"/v1/orders/{order_no}")).json()
    converted = (await asha.convert()).json()
    for done in (changed, cancelled, converted):
        path = f"/v1/placements/{done['placementId']}"
        assert (await asha.get(path)).json() == done
        assert slug(await farhan.get(path)) == "not-found"


async def test_an_unknown_placement_of_hers_is_not_his_to_cancel(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, farhan: Trader
) -> None:
    broker.order_switches(shownAfterSeconds=600)
    broker.break_call("place", "reset", times=1, after=True)
    placement_id = (await asha.place()).json()["placementId"]
    assert slug(await farhan.delete(f"/v1/placements/{placement_id}")) == "not-found"
    assert (await replicas.store.intent(placement_id))["cancel_wanted_at"] is None
    broker.clear_order_switches()
    await replicas.store.looked()
    assert broker.received("cancel") == []


async def test_lists_show_ones_own(broker: SimulatedBroker, asha: Trader, farhan: Trader) -> None:
    hers, his = await asha.place(), await farhan.place(quantity=7)
    for trader, placed in ((asha, hers), (farhan, his)):
        listed = (await trader.get("/v1/placements")).json()["placements"]
        assert [each["placementId"] for each in listed] == [placed.json()["placementId"]]
        own = {each["orderNo"] for each in broker.taken(trader.user)}
        orders = (await trader.get("/v1/orders")).json()["orders"]
        assert own <= {each["orderNo"] for each in orders}
        assert {each["placementId"] for each in orders} == {None, placed.json()["placementId"]}


async def test_cancelling_everything_cancels_ones_own(broker: SimulatedBroker, asha: Trader, farhan: Trader) -> None:
    hers, his = await asha.placed(), await farhan.placed()
    answer = await farhan.delete("/v1/orders")
    assert [(each["orderNo"], each["outcome"]) for each in answer.json()["cancellations"]] == [(his, "accepted")]
    assert (await asha.order(hers))["status"] == "OPEN"
    assert (await farhan.order(his))["status"] == "CANCELLED"
    everything = (await asha.delete("/v1/orders")).json()["cancellations"]
    assert hers in [each["orderNo"] for each in everything]
    open_ones = [each for each in (await asha.get("/v1/orders")).json()["orders"] if each["pendingQuantity"]]
    assert open_ones == []


async def test_an_echo_of_hers_in_his_book_proves_nothing(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, farhan: Trader
) -> None:
    """Correlations are looked up by their owner: what turns up elsewhere attaches nothing."""
    broker.break_call("place", "reset", times=1)
    placement_id = (await asha.place()).json()["placementId"]
    his = await farhan.placed()
    await farhan.get("/v1/orders")
    correlation = (await replicas.store.intent(placement_id))["correlation"]
    await replicas.store.rows.execute(
        "UPDATE seen_orders SET correlation = $1, intent_id = NULL WHERE order_no = $2", correlation, his
    )
    await replicas.store.looked()
    await replicas.store.looked("FO5678")
    assert (await asha.placement(placement_id))["outcome"] == "unknown"
    attached = await replicas.store.rows.fetchval("SELECT intent_id FROM seen_orders WHERE order_no = $1", his)
    assert str(attached) != placement_id


async def test_an_order_seen_before_is_known_by_its_owner_and_one_unseen_costs_a_read(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    seeded = "SBIN-EQ"
    order_no = await asha.placed()
    assert (await asha.delete(f"/v1/orders/{order_no}")).status_code == 200
    assert broker.received("orderBook") == [], "the answer to its placement has named it"
    listed = (await asha.get("/v1/orders")).json()["orders"]
    stop = next(each["orderNo"] for each in listed if each["tradingSymbol"] == seeded)
    await replicas.store.rows.execute("TRUNCATE seen_orders")
    read = len(broker.received("orderBook"))
    assert (await asha.delete(f"/v1/orders/{stop}")).status_code == 200
    assert len(broker.received("orderBook")) == read + 1
    assert (await replicas.store.rows.fetchval("SELECT user_id FROM seen_orders WHERE order_no = $1", stop)) == "AB1234"


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [("POST", "/v1/orders", ORDER), ("PATCH", "/v1/orders/26112300000001", PATCH),
     ("DELETE", "/v1/orders/26112300000001", None), ("DELETE", "/v1/orders", None),
     ("POST", "/v1/positions/convert", CONVERSION), ("GET", "/v1/placements", None),
     ("GET", f"/v1/placements/{uuid.UUID(int=1)}", None), ("DELETE", f"/v1/placements/{uuid.UUID(int=1)}", None)],
)  # fmt: skip
async def test_nobody_does_anything_without_a_session(
    replicas: Replicas, broker: SimulatedBroker, method: str, path: str, content: dict[str, Any] | None
) -> None:
    async with Trader(replicas.first) as stranger:
        answer = await stranger.request(method, path, json=content, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, slug(answer)) == (401, "not-signed-in")
    assert broker.received() == []
    assert await replicas.store.intents() == []


async def test_a_session_that_was_ended_places_nothing(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    assert (await asha.delete("/v1/session")).status_code == 204
    for service in replicas.both:
        assert slug(await asha.place(at=service)) == "not-signed-in"
    assert broker.received("place") == []


async def test_placements_are_listed_page_by_page_the_newest_first(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    placed = [(await asha.place(quantity=quantity)).json()["placementId"] for quantity in range(1, 6)]
    await asha.convert()
    found: list[str] = []
    page: dict[str, Any] = {"nextCursor": None}
    while len(found) < 5:
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
        answer = await asha.get(f"{replicas.second.url}/v1/placements", params={"limit": 2} | cursor)
        page = answer.json()
        found += [each["placementId"] for each in page["placements"]]
    assert found == placed[::-1]
    assert page["nextCursor"] is None
    await replicas.store.rows.execute(
        "UPDATE intents SET created_at = created_at - interval '3 days' WHERE id = $1", placed[0]
    )
    day = await replicas.store.rows.fetchval("SELECT ((now() - interval '3 days') AT TIME ZONE 'Asia/Kolkata')::date")
    older = await asha.get("/v1/placements", params={"from": day.isoformat(), "to": day.isoformat()})
    assert [each["placementId"] for each in older.json()["placements"]] == placed[:1]
    assert slug(await asha.get("/v1/placements", params={"cursor": "bm9uc2Vuc2U"})) == "invalid-request"
    assert slug(await asha.get("/v1/placements", params={"limit": 0})) == "invalid-request"


async def test_a_placements_id_that_is_none_is_refused_with_a_pointer(asha: Trader) -> None:
    answer = await asha.get("/v1/placements/1")
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "/path/placementId"
