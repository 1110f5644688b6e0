"""A broker that is odd, as brokers are: what it quotes, doubles, cuts short or tells late costs no order its truth."""

import asyncio

import pytest

from tests.support.investor import slug
from tests.support.replicas import Replicas, Trader, until
from tests.support.simulated import SimulatedBroker


async def test_an_equal_order_waits_for_one_that_has_not_been_answered_at_once(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """Somebody whose first try hangs presses again, and his frontend makes a new key of it."""
    broker.break_call("place", "hanging", after=True, times=1)
    first = asyncio.create_task(asha.place())
    [intent] = await until(replicas.store.intents)
    await replicas.store.rows.execute("UPDATE intents SET send_by = now() WHERE id = $1", intent["id"])
    second = await asha.place(at=replicas.second)
    assert (second.status_code, slug(second)) == (409, "placement-unresolved")
    assert second.json()["placementId"] == str(intent["id"])
    assert (await asha.place(at=replicas.second, allowDuplicate=True)).status_code == 201
    assert (await first).status_code == 202


async def test_slices_that_turn_up_after_a_cancel_are_cancelled_too(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.order_switches(freezeQuantity=4, remarksIn="book")
    placed = await asha.place()
    placement_id, orders = placed.json()["placementId"], placed.json()["orders"]
    assert len(orders) == 3
    await replicas.store.rows.execute("DELETE FROM seen_orders WHERE order_no <> $1", orders[0]["orderNo"])
    answer = await asha.delete(f"/v1/placements/{placement_id}")
    assert answer.status_code == 200
    assert [each["orderNo"] for each in answer.json()["cancellations"]] == [orders[0]["orderNo"]]

    async def all_are_cancelled() -> bool:
        book = (await asha.get("/v1/orders")).json()["orders"]
        return all(each["status"] == "CANCELLED" for each in book if each["placementId"] == placement_id) and {
            each["orderNo"] for each in orders
        } <= {each["orderNo"] for each in book if each["placementId"] == placement_id}

    await replicas.store.looked()
    await until(all_are_cancelled)


async def test_a_look_that_nobody_planned_is_made_up_for(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """An intent left behind while a look at something else was under way is not forgotten."""
    broker.break_call("place", "hanging", after=True, times=1)
    hanging = asyncio.create_task(asha.place())
    [intent] = await until(replicas.store.intents)
    other = await asha.place(quantity=1)
    assert other.status_code == 201
    await replicas.store.looked()
    planned = await replicas.store.rows.fetchval("SELECT next_look_at <= $1 FROM watches", intent["doubtful_at"])
    assert planned
    assert (await hanging).status_code == 202


async def test_a_quoted_token_reaches_neither_the_caller_nor_what_is_stored(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await asha.get("/v1/funds")
    token = broker.received("funds")[0]["headers"]["authorization"].removeprefix("Bearer ")
    broker.order_switches(refuseNext=f"ORA: header Bearer {token[:400]} is not allowed")
    answer = await asha.place()
    assert slug(answer) == "order-refused"
    stored = await replicas.store.rows.fetchval(
        "SELECT (SELECT string_agg(reason, '') FROM intents) || (SELECT string_agg(facts::text, '') FROM ledger)"
    )
    assert token[:60] not in answer.text
    assert token[:60] not in stored
    assert "is not allowed" in answer.json()["reason"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [(b"[" * 60_000, 422, "invalid-request"), (b'{"quantity":' + b"9" * 5000 + b"}", 422, "invalid-request"),
     (b'{"quantity":1,"quantity":999}', 422, "invalid-request"), (b'{"quantity":NaN}', 422, "invalid-request"),
     (b"{", 422, "invalid-request"), (b"\xff", 422, "invalid-request")],
)  # fmt: skip
async def test_a_body_that_nobody_can_mean_is_refused(asha: Trader, body: bytes, status: int, kind: str) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await asha.post("/v1/orders", content=body, headers=headers)
    assert (answer.status_code, slug(answer)) == (status, kind)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_a_body_that_is_not_json_is_not_read(asha: Trader, content_type: str) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": content_type}
    answer = await asha.post("/v1/orders", content=b"{}", headers=headers)
    assert (answer.status_code, slug(answer)) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    "query",
    ["to=9999-12-31", "from=0001-01-01", "from=0001-01-01T00:00:00%2B14:00", "to=9999-12-31T23:59:59-14:00",
     "cursor=x", "cursor=OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMCAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA",
     "limit=0", "limit=201", "from=yesterday", "action=BUY", "outcome=lost"],
)  # fmt: skip
async def test_a_list_that_can_not_be_is_refused_at_its_place(asha: Trader, query: str) -> None:
    answer = await asha.get(f"/v1/placements?{query}")
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"].startswith(f"/query/{query.partition('=')[0]}")


async def test_a_list_goes_on_where_the_page_before_ended(asha: Trader) -> None:
    placed = [(await asha.place(quantity=number)).json()["placementId"] for number in (1, 2, 3)]
    order_no = await asha.placed(quantity=4)
    await asha.delete(f"/v1/orders/{order_no}")
    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await asha.get("/v1/placements", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        listed += [each["placementId"] for each in page["placements"]]
        cursor = page["nextCursor"]
    assert listed[1:] == placed[::-1]
    cancels = (await asha.get("/v1/placements?action=CANCEL")).json()["placements"]
    assert [each["action"] for each in cancels] == ["CANCEL"]
    assert (await asha.get("/v1/placements?outcome=unknown")).json()["placements"] == []
    assert (await asha.get("/v1/placements?from=2020-01-01&to=2020-12-31")).json()["placements"] == []
