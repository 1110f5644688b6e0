"""What an operator is told of unknown orders, and what he may say about them."""

import json
import uuid

import pytest

from tests.support.commands import refused, said
from tests.support.environment import environment
from tests.support.replicas import Replicas, Trader
from tests.support.simulated import SimulatedBroker

WHO = ("--reason", "the broker's desk says so", "--actor", "ops-1")


@pytest.fixture
def given(replicas: Replicas, broker: SimulatedBroker) -> dict[str, str]:
    return environment(replicas.database_url, broker.url)


@pytest.fixture
async def unknown(asha: Trader, broker: SimulatedBroker) -> str:
    """Give a placement of which nobody can find out what became: the broker echoes nothing."""
    broker.order_switches(remarksIn="nowhere")
    broker.break_call("place", "reset", after=True, times=1)
    answer = await asha.place()
    assert answer.status_code == 202
    placement_id: str = answer.json()["placementId"]
    return placement_id


async def test_nothing_unknown_is_said_plainly(given: dict[str, str]) -> None:
    assert await said("placements", "unresolved", given=given) == "Nothing is unknown."
    assert json.loads(await said("placements", "unresolved", "--json", given=given)) == {"unresolved": []}


async def test_what_is_unknown_is_listed_with_what_it_may_be(
    asha: Trader, unknown: str, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    [order] = broker.taken()
    await asha.becomes(unknown, "unknown", such_that=lambda found: found["candidates"] == [order["orderNo"]])
    line = await said("placements", "unresolved", "--user", "ab1234", given=given)
    assert line.startswith(f"{unknown} AB1234 PLACE YESBANK-EQ: unknown for 0 min, since ")
    assert line.endswith(f"may-be-one-of-candidates; it may be {order['orderNo']}")
    [listed] = json.loads(await said("placements", "unresolved", "--json", given=given))["unresolved"]
    assert (listed["placementId"], listed["candidates"]) == (unknown, [order["orderNo"]])
    assert await said("placements", "unresolved", "--user", "FO5678", given=given) == "Nothing is unknown."


async def test_a_person_who_knows_settles_it_with_its_order(
    asha: Trader, unknown: str, replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    [order] = broker.taken()
    number = order["orderNo"]
    done = await said("placements", "resolve", unknown, "--as", "accepted", "--order-no", number, *WHO, given=given)
    assert done == f"Placement {unknown} is accepted now."
    found = await asha.becomes(unknown, "accepted", such_that=lambda each: each["orders"][0]["status"] == "OPEN")
    assert [each["orderNo"] for each in found["orders"]] == [number]
    assert (await asha.order(number))["placementId"] == unknown
    [written] = await replicas.store.ledger("resolved-by-hand")
    assert (written["intent"], written["orderNos"], written["reason"]) == (unknown, number, WHO[1])
    again = await refused("placements", "resolve", unknown, "--as", "refused", *WHO, given=given)
    assert again == f"Placement {unknown} is accepted already."


async def test_a_refusal_by_hand_is_told_and_overridden_by_a_later_sighting(
    asha: Trader, unknown: str, replicas: Replicas, broker: SimulatedBroker, given: dict[str, str]
) -> None:
    await asha.becomes(unknown, "unknown", such_that=lambda found: bool(found["candidates"]))
    await said("placements", "resolve", unknown, "--as", "refused", *WHO, given=given)
    found = await asha.becomes(unknown, "refused")
    assert found["reason"] == WHO[1]
    [order] = broker.taken()
    intent = await replicas.store.intent(unknown)
    await replicas.store.rows.execute(
        "UPDATE seen_orders SET correlation = $1 WHERE order_no = $2", intent["correlation"], order["orderNo"]
    )
    await replicas.store.looked()
    await asha.becomes(unknown, "accepted")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--as", "refused", "--order-no", "26112300000001"), "Order numbers belong to an order that was placed"),
        (("--as", "accepted", "--order-no", "TAKEN"), "TAKEN came from another placement."),
    ],
)
async def test_what_can_not_be_is_refused(  # fixtures
    asha: Trader, unknown: str, replicas: Replicas, given: dict[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    taken = await asha.placed(quantity=3)
    named = tuple(taken if each == "TAKEN" else each for each in arguments)
    refusal = await refused("placements", "resolve", unknown, *named, *WHO, given=given)
    assert refusal.startswith(sentence.replace("TAKEN", taken))


async def test_a_placement_that_there_is_not_is_named(given: dict[str, str]) -> None:
    nobodys = str(uuid.uuid4())
    refusal = await refused("placements", "resolve", nobodys, "--as", "accepted", *WHO, given=given)
    assert refusal == f"There is no placement {nobodys}."


async def test_what_is_still_being_sent_is_nobodys_to_settle(
    asha: Trader, replicas: Replicas, given: dict[str, str]
) -> None:
    placement_id = (await asha.place()).json()["placementId"]
    await replicas.store.rows.execute(
        "UPDATE intents SET state = 'sending', resolved_at = NULL, resolved_by = NULL, doubtful_at = now() + '1 min'"
        " WHERE id = $1", placement_id,
    )  # fmt: skip
    refusal = await refused("placements", "resolve", placement_id, "--as", "refused", *WHO, given=given)
    assert refusal == f"Placement {placement_id} is still being sent; wait a moment."
