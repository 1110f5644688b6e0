"""What the simulated broker can be told to do to its order updates, and what it posts that is not true."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.webhook_switches import WebhookSwitches
from tests.simulator.receiver import TAKEN, Receiver, arrived, receiving, settled
from tests.simulator.trader import Trader
from tests.support.configured import API_SECRET
from tests.support.simulated import SimulatedBroker

ROOT = Path(__file__).parents[2]
MARKET = {"priceType": "MKT", "price": "0"}
ACCEPTED, OPENED, FILLED = ("NewAck", "PENDING"), ("New", "OPEN"), ("Fill", "COMPLETE")


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    return Trader(broker)


@pytest.fixture
def told(broker: SimulatedBroker, asha: Trader) -> Iterator[Receiver]:
    """Give a receiver that is subscribed to Asha's orders."""
    with receiving() as receiver:
        assert asha.subscribe(receiver.url()) == TAKEN
        yield receiver
        broker.reset()  # nothing is to be posted to a port that somebody else may have next


def sample(name: str) -> Any:
    return json.loads((ROOT / "tests" / "samples" / f"{name}.json").read_text("utf-8"))


def page(broker: SimulatedBroker) -> str:
    return httpx.get(f"{broker.url}/_simulator/").text


def switched(broker: SimulatedBroker) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{broker.url}/_simulator/state").json()["webhooks"]
    return found


def press(broker: SimulatedBroker, action: str, user: str = "AB1234", *, at: str = "switch-webhooks") -> int:
    """Press a button of the page and return the status of what comes."""
    return httpx.post(f"{broker.url}/_simulator/{at}", data={"action": action, "userId": user}).status_code


async def test_each_can_be_posted_several_times(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.webhook_switches(duplicates=2)
    asha.place()
    assert (await settled(broker))["posted"] == 6
    assert told.said() == [ACCEPTED] * 3 + [OPENED] * 3


async def test_of_two_the_later_goes_first(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.webhook_switches(reorder=True)
    number = asha.place()
    await arrived(told, 2)
    assert told.said() == [OPENED, ACCEPTED]
    started = time.monotonic()
    asha.cancel(number)
    await arrived(told, 3)
    assert told.said()[2:] == [("Canceled", "CANCELED")]
    assert told.received[2].at - started >= 1


async def test_each_can_come_late_and_in_its_order(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.webhook_switches(delaySeconds=0.5)
    started = time.monotonic()
    asha.place(**MARKET)
    await settled(broker)
    assert told.said() == [ACCEPTED, OPENED, FILLED]
    assert told.received[0].at - started >= 0.5


@pytest.mark.parametrize(("lose", "left"), [("all", []), ("every-second", [ACCEPTED, FILLED])])
async def test_updates_can_be_lost(
    broker: SimulatedBroker, asha: Trader, told: Receiver, lose: str, left: list[tuple[str, str]]
) -> None:
    for _ in range(2):
        broker.webhook_switches(lose=lose)
        asha.place(**MARKET)
    done = await settled(broker)
    assert told.said() == left * 2
    assert (done["posted"], done["lost"]) == (2 * len(left), 6 - 2 * len(left))
    broker.webhook_switches(lose=None)
    asha.place()
    await settled(broker)
    assert told.said() == [*left * 2, ACCEPTED, OPENED]


@pytest.mark.parametrize(("dialect", "is_right"), [("checksum", True), ("badChecksum", False)])
async def test_the_older_payload_proves_itself(
    broker: SimulatedBroker, asha: Trader, told: Receiver, dialect: str, is_right: bool
) -> None:
    broker.webhook_switches(dialect=dialect)
    number = asha.place(**MARKET)
    asha.place(qty="100000")
    asha.cancel(asha.place())
    await settled(broker)
    recorded = sample("postback.kite_copy_2023")
    for each in told.payloads():
        assert each.keys() == recorded.keys()
        proof = hashlib.sha256(f"{each['order_id']}{each['order_timestamp']}{API_SECRET}".encode()).hexdigest()
        assert (each["checksum"] == proof) is is_right
    statuses = [each["status"] for each in told.payloads()]
    assert statuses == ["UPDATE", "UPDATE", "COMPLETE", "UPDATE", "REJECTED", "UPDATE", "UPDATE", "CANCEL"]
    complete = told.payloads()[2]
    expected = {
        "order_id": number, "quantity": 10, "filled_quantity": 10, "average_price": 14.2, "pending_quantity": 0,
        "transaction_type": "BUY", "order_type": "MARKET",
    }  # fmt: skip
    assert {name: complete[name] for name in expected} == expected
    alike = {int: int | float, float: int | float, str: str, dict: dict}
    assert [
        name for name, value in recorded.items() if value and not isinstance(complete[name], alike[type(value)])
    ] == []


async def test_most_of_an_update_can_be_missing(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.webhook_switches(partial=True)
    number = asha.place()
    broker.webhook_switches(dialect="checksum")
    asha.cancel(number)
    await settled(broker)
    assert told.payloads()[1] == {"norenordno": number, "status": "OPEN"}
    assert told.payloads()[2].keys() == {"order_id", "order_timestamp", "checksum", "status"}


async def test_switches_are_for_one_or_for_all_and_can_be_put_back(
    broker: SimulatedBroker, asha: Trader, told: Receiver
) -> None:
    broker.webhook_switches("*", lose="all")
    broker.webhook_switches(duplicates=1)
    assert switched(broker) == [{"userId": "*", "lose": "all"}, {"userId": "AB1234", "duplicates": 1}]
    asha.place()
    assert (await settled(broker))["lost"] == 4
    broker.clear_webhook_switches("*")
    asha.place()
    await settled(broker)
    assert told.said() == [ACCEPTED, ACCEPTED, OPENED, OPENED]
    broker.clear_webhook_switches()
    assert switched(broker) == []


async def test_a_forgery_claims_what_is_not_true(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    broker.webhook_switches(lose="all", partial=True)
    broker.forge_webhooks(times=2)
    await settled(broker)
    assert len(told.payloads()) == 2
    for each in told.payloads():
        assert each.keys() == sample("webhook_order_update").keys()
        assert each["status"] == "COMPLETE"
        assert each["norenordno"] not in {row["orderNo"] for row in asha.book()}
    claimed: dict[str, Any] = {"norenordno": "1", "status": ["REJECTED"], "more": None}
    broker.forge_webhooks("*", **claimed)
    await settled(broker)
    assert {name: told.payloads()[2][name] for name in claimed} == claimed


def test_a_forgery_needs_a_url_to_go_to(broker: SimulatedBroker) -> None:
    forge = f"{broker.url}/_simulator/investors/AB1234/webhooks/forge"
    assert httpx.post(forge, json={}).json() == {"error": "no webhook is subscribed"}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("PUT", "NOBODY/webhooks", {}), ("PUT", "AB1234/webhooks", {"lose": "some"}),
        ("PUT", "AB1234/webhooks", {"duplicates": -1}), ("PUT", "AB1234/webhooks", {"nonsense": 1}),
        ("PUT", "AB1234/webhooks", {"dialect": "x"}), ("DELETE", "NOBODY/webhooks", None),
        ("POST", "NOBODY/webhooks/forge", {}), ("POST", "AB1234/webhooks/forge", {"times": 0}),
    ],
)  # fmt: skip
def test_an_unknown_switch_is_refused(broker: SimulatedBroker, method: str, path: str, content: object) -> None:
    answered = httpx.request(method, f"{broker.url}/_simulator/investors/{path}", json=content)
    assert answered.status_code == 422


def test_the_page_lists_subscriptions_without_their_secret(broker: SimulatedBroker, asha: Trader) -> None:
    asha.subscribe("https://vendor.example/broker/webhooks/the-secret")
    asha.subscribe("https://vendor.example")
    shown = page(broker)
    assert "<td>https://vendor.example/broker/webhooks/…</td>" in shown
    assert "<td>https://…</td>" in shown
    assert "the-secret" not in shown


async def test_the_page_has_buttons_for_webhooks(broker: SimulatedBroker, asha: Trader, told: Receiver) -> None:
    assert [press(broker, action) for action in ("lose", "duplicate", "forge", "x")] == [303, 303, 303, 422]
    assert "webhooks duplicates: 1; webhooks lose: all" in page(broker)
    asha.place()
    done = await settled(broker)
    assert (done["posted"], done["lost"]) == (1, 4)
    assert "Order updates posted: 1; without an answer: 0; never sent: 4" in page(broker)
    press(broker, "restore")
    assert switched(broker) == []
    press(broker, "lose", "*")
    assert switched(broker) == [{"userId": "*", "lose": "all"}]
    press(broker, "clear", "*", at="switch")
    assert switched(broker) == []


def test_every_webhook_switch_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")
    fields = WebhookSwitches.model_fields.values()
    assert [each.alias for each in fields if f"`{each.alias}`" not in page] == []
    assert [name for name in ("all", "every-second", "checksum", "badChecksum") if f"`{name}`" not in page] == []
