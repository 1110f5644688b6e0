"""What halts and caps forbid is refused on every replica before anything is written; what lessens risk passes."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from tests.support.commands import said
from tests.support.environment import environment
from tests.support.investor import slug
from tests.support.replicas import Replicas, Trader, is_second, trading
from tests.support.simulated import SimulatedBroker

KEY = "tried-while-it-was-forbidden"
ALL = ("--all",)
HERS = ("--user", "AB1234")


async def halted(replicas: Replicas, broker: SimulatedBroker, *whom: str, reason: str = "the exchange is down") -> None:
    """Type the command that halts."""
    given = environment(replicas.database_url, broker.url)
    await said("halt", "on", *whom, "--reason", reason, "--actor", "Ravi", given=given)


async def lifted(replicas: Replicas, broker: SimulatedBroker, *whom: str) -> None:
    given = environment(replicas.database_url, broker.url)
    await said("halt", "off", *whom, "--reason", "it is back", "--actor", "Ravi", given=given)


async def capped(replicas: Replicas, **caps: int | Decimal) -> None:
    """Cap one investor, in the place of whatever held before."""
    wanted = {"order_quantity": None, "order_value": None, "orders_per_day": None} | caps
    await replicas.store.rows.execute("DELETE FROM caps")
    await replicas.store.rows.execute(
        "INSERT INTO caps (user_id, order_quantity, order_value, orders_per_day) VALUES ('AB1234', $1, $2, $3)",
        *wanted.values(),
    )


@pytest.mark.parametrize("whom", [ALL, HERS], ids=["everybody", "one"])
async def test_a_halt_refuses_new_orders_on_every_replica_and_is_forgotten_when_it_is_lifted(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, whom: tuple[str, ...]
) -> None:
    await halted(replicas, broker, *whom)
    for service in replicas.both:
        for answer in (await asha.place(KEY, at=service), await asha.convert(at=service)):
            assert (answer.status_code, slug(answer)) == (403, "trading-halted")
            assert answer.json()["detail"] == "the exchange is down"
    assert await replicas.store.intents() == []
    await lifted(replicas, broker, *whom)
    answer = await asha.place(KEY, at=replicas.second)
    assert (answer.status_code, is_second(answer)) == (201, False)
    assert (len(broker.received("place")), len(broker.received("convert"))) == (1, 0)


async def test_a_halt_of_one_leaves_the_others_alone(replicas: Replicas, broker: SimulatedBroker, asha: Trader) -> None:
    await halted(replicas, broker, *HERS)
    async with trading(replicas.second, broker, "FO5678") as farhan:
        assert (await farhan.place()).status_code == 201
    assert slug(await asha.place()) == "trading-halted"


@pytest.mark.parametrize(
    "change",
    [{"quantity": 11}, {"price": "14.05"}, {"quantity": 1, "price": "14.05"}, {"orderType": "MARKET"},
     {"orderType": "SL", "triggerPrice": "13.00"}],
)  # fmt: skip
async def test_a_halt_refuses_changes_that_ask_for_more(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, change: dict[str, Any]
) -> None:
    order_no = await asha.placed()
    await halted(replicas, broker, *ALL)
    for service in replicas.both:
        assert slug(await asha.modify(order_no, change, KEY, at=service)) == "trading-halted"
    assert broker.received("modify") == []
    await lifted(replicas, broker, *ALL)
    assert (await asha.modify(order_no, change, KEY)).status_code == 200


async def test_a_halt_lets_pass_whatever_lessens_risk(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    first, second = (await asha.place(KEY)).json(), await asha.placed(quantity=5)
    third = (await asha.place(quantity=4)).json()
    await halted(replicas, broker, *ALL)
    order_no = first["orders"][0]["orderNo"]
    for change in ({"quantity": 9}, {"price": "13.95"}, {"quantity": 8, "price": "13.90"}, {"validity": "DAY"}):
        assert (await asha.modify(order_no, change, at=replicas.second)).status_code == 200
    assert (await asha.place(KEY)).status_code == 201, "a repetition does nothing"
    assert (await asha.delete(f"/v1/orders/{order_no}")).status_code == 200
    assert (await asha.delete(f"/v1/placements/{third['placementId']}")).status_code == 200
    assert second in [each["orderNo"] for each in (await asha.delete("/v1/orders")).json()["cancellations"]]
    assert {each["status"] for each in broker.taken()} == {"CANCELED"}


async def test_a_halt_keeps_nobody_from_finding_out_and_cancelling(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.break_call("place", "reset", times=1, after=True)
    placement_id = (await asha.place()).json()["placementId"]
    await halted(replicas, broker, *ALL)
    assert (await asha.delete(f"/v1/placements/{placement_id}")).status_code in {200, 202}
    await replicas.store.looked()
    placement = await asha.becomes(placement_id, "accepted")
    assert len(placement["orders"]) == 1
    await replicas.store.looked()
    assert broker.taken()[0]["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("caps", "order", "words"),
    [
        ({"order_quantity": 9}, {}, "at most 9 are allowed"),
        ({"order_value": Decimal("139.99")}, {}, "worth 140 rupees; at most 139.99"),
        ({"order_value": Decimal(1000)}, {"orderType": "MARKET", "price": None}, "send it with a limit"),
        ({"orders_per_day": 0}, {}, "at most 0 are allowed a day"),
    ],
)
async def test_what_is_over_a_cap_is_refused_and_not_remembered(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, caps: dict[str, Any], order: dict[str, Any], words: str
) -> None:
    await capped(replicas, **caps)
    for service in replicas.both:
        answer = await asha.place(KEY, at=service, **order)
        assert (answer.status_code, slug(answer)) == (422, "cap-exceeded")
        assert words in answer.json()["detail"]
    assert (await replicas.store.intents(), broker.received("place")) == ([], [])
    await capped(replicas, order_quantity=10)
    answer = await asha.place(KEY, **order)
    assert (answer.status_code, is_second(answer)) == (201, False)


async def test_a_change_is_capped_where_it_asks_for_more(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    order_no = await asha.placed()
    await capped(replicas, order_quantity=5, order_value=Decimal(100), orders_per_day=1)
    for change in ({"quantity": 11}, {"price": "14.05"}):
        assert slug(await asha.modify(order_no, change)) == "cap-exceeded"
    assert (await asha.modify(order_no, {"quantity": 9})).status_code == 200, "less than it was, though over the cap"
    assert (await asha.modify(order_no, {"quantity": 3})).status_code == 200
    assert (await asha.modify(order_no, {"quantity": 4})).status_code == 200, "changes are not counted as orders"
    assert len(broker.received("modify")) == 3


async def test_no_more_orders_a_day_pass_than_allowed_however_many_come_at_once(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await capped(replicas, orders_per_day=3)
    answers = await asyncio.gather(*(asha.place(at=service) for service in replicas.both for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [201] * 3 + [422] * 5
    assert len(broker.received("place")) == len(await replicas.store.intents()) == 3
    await replicas.store.rows.execute("UPDATE intents SET trading_day = trading_day - 1")
    assert (await asha.place()).status_code == 201, "another day"


async def test_orders_of_which_nobody_knows_count_towards_the_day(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    await capped(replicas, orders_per_day=1)
    broker.break_call("place", "reset", times=1)
    assert (await asha.place()).status_code == 202
    assert slug(await asha.place(quantity=1)) == "cap-exceeded"
