"""Streams over real sockets on two replicas: what comes, in which order, and how it goes on after a cut."""

from tests.support.investor import slug
from tests.support.replicas import Replicas, Trader, until
from tests.support.simulated import SimulatedBroker
from tests.support.streams import PATH, listening

SYMBOL = "YESBANK-EQ"


async def test_an_order_is_told_on_both_replicas_from_its_beginning_to_its_end(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    seeds = len((await asha.get("/v1/orders")).json()["orders"])
    async with listening(asha, replicas.first) as here, listening(asha, replicas.second) as there:
        number = await asha.placed()
        await here.until(1)
        broker.set_price(SYMBOL, "13.00")
        told = await here.until(2)
        await there.until(2)
    assert here.updates == there.updates
    assert [int(each.id or 0) for each in told] == [seeds + 1, seeds + 2]
    assert [each["type"] for each in here.updates] == ["OPEN", "FILLED"]
    assert {each["order"]["orderNo"] for each in here.updates} == {number}
    assert here.updates[1]["order"] == await asha.order(number)


async def test_after_a_cut_everything_comes_once_and_in_order(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    """A phone in a tunnel: what happened meanwhile comes from the database, on whichever replica it comes back."""
    await asha.get("/v1/orders")
    async with listening(asha, replicas.first) as before:
        first = await asha.placed()
        await before.until(1)
    numbers = [first, *[await asha.placed(quantity=11 + each) for each in range(3)]]
    for number in numbers:
        assert (await asha.modify(number, {"price": "14.05"})).status_code == 200
        await asha.get("/v1/orders", headers={"Cache-Control": "no-cache"})
    async with listening(asha, replicas.second, last_id=before.last_id) as after:
        await after.until(7)
        broker.set_price(SYMBOL, "13.00")
        await after.until(11)
    told = before.updates + after.updates
    assert [each["id"] for each in told] == list(range(told[0]["id"], told[0]["id"] + 12))
    for number in numbers:
        types = [each["type"] for each in told if each["order"]["orderNo"] == number]
        assert types == ["OPEN", "MODIFIED", "FILLED"]


async def test_what_is_asked_for_by_since_is_what_the_list_has(replicas: Replicas, asha: Trader) -> None:
    await asha.get("/v1/orders")
    await asha.placed()
    await asha.get("/v1/orders", headers={"Cache-Control": "no-cache"})
    listed = (await asha.get("/v1/order-events", params={"since": 1})).json()
    async with listening(asha, replicas.second, since=1) as stream:
        await stream.until(len(listed["orderEvents"]))
    assert stream.updates == listed["orderEvents"]
    assert stream.last_id == str(listed["lastEventId"])


async def test_a_stream_without_news_begins_and_goes_on_where_it_stands(asha: Trader) -> None:
    await asha.get("/v1/orders")
    newest = (await asha.get("/v1/order-events")).json()["lastEventId"]
    async with listening(asha) as stream:
        await stream.beaten(1)
    assert stream.updates == []
    assert stream.last_id == str(newest)
    [greeting] = [each for each in stream.told if each.event == "connected"]
    assert greeting.data["lastEventId"] == newest
    assert greeting.data["userId"] == "AB1234"


async def test_an_id_that_there_is_not_yet_is_told_and_not_waited_for(asha: Trader) -> None:
    """The database was restored from a backup: a browser that knows more than it must not wait for ever."""
    await asha.get("/v1/orders")
    newest = (await asha.get("/v1/order-events")).json()["lastEventId"]
    async with listening(asha, last_id=str(newest + 500)) as stream:
        [reset] = await stream.until(1, "reset")
        await asha.placed()
        [update] = await stream.until(1)
    assert reset.id == str(newest)
    assert update.id == str(newest + 1)


async def test_nonsense_for_an_id_is_refused(asha: Trader) -> None:
    for headers, query in (({"Last-Event-ID": "x"}, ""), ({}, "?since=-1"), ({}, "?since=a")):
        answer = await asha.get(f"{PATH}{query}", headers=headers)
        assert slug(answer) == "invalid-request"


async def test_the_life_of_an_unknown_order_is_told_as_news_of_the_placements(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    async with listening(asha, replicas.second) as stream:
        broker.break_call("place", "reset", after=True, times=1)
        placement = (await asha.place()).json()
        assert placement["outcome"] == "unknown"
        await stream.until(1, "placements-changed")
        await asha.becomes(placement["placementId"], "accepted")
        await stream.until(2, "placements-changed")
        await stream.until(1)
    assert {each.id for each in stream.told if each.event == "placements-changed"} == {None}


async def test_a_late_rejection_is_an_event_with_its_reason(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(rejectNext={"reason": "RED:Margin Shortfall", "afterSeconds": 1})
    async with listening(asha) as stream:
        number = await asha.placed()

        async def is_told() -> list[dict[str, object]]:
            return [
                each for each in stream.updates if each["type"] == "REJECTED" and each["order"]["orderNo"] == number
            ]

        [rejected] = await until(is_told)
    assert rejected["order"]["rejectionReason"] == "RED:Margin Shortfall"  # type: ignore[index]  # JSON
    assert rejected["order"]["status"] == "REJECTED"  # type: ignore[index]  # the same


async def test_nobody_hears_of_anybody_else(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    broker.add_investor("ZZ9999")
    async with Trader(replicas.first, "ZZ9999") as zoya:
        await zoya.sign_in(broker, "ZZ9999")
        async with listening(zoya, replicas.first) as hers, listening(asha, replicas.first) as his:
            number = await asha.placed()
            await his.until(1)
            await hers.beaten(2)
    assert number not in {each["order"]["orderNo"] for each in hers.updates}


async def test_no_proxy_keeps_a_stream_back(asha: Trader) -> None:
    async with listening(asha) as stream:
        given = stream.answer.headers
    assert given["content-type"].startswith("text/event-stream")
    assert given["x-accel-buffering"] == "no"
    assert {each.strip() for each in given["cache-control"].split(",")} == {"no-store", "no-transform"}
    assert "content-length" not in given
    assert "ratelimit" not in given


async def test_two_hundred_events_behind_are_caught_up_with(replicas: Replicas, asha: Trader) -> None:
    """More than a page, and more than is kept in memory."""
    await asha.get("/v1/orders")
    rows = replicas.store.rows
    await rows.execute(
        "INSERT INTO order_events (user_id, number, order_no, type, shown, changes, seen_at) "
        "SELECT user_id, u.last_event + n, order_no, 'MODIFIED', shown, '[]', now() "
        "FROM (SELECT * FROM order_events LIMIT 1) e, generate_series(1, 250) n, users u WHERE u.id = e.user_id"
    )
    await rows.execute("UPDATE users SET last_event = last_event + 250")
    async with listening(asha, since=0) as stream:
        told = await stream.until(250)
        await stream.beaten(1)
    ids = [int(each.id or 0) for each in told]
    assert ids == list(range(1, len(ids) + 1))
