"""More investors than the seed has: each like one of them, and nobody but himself."""

import httpx
import pytest

from tests.simulator.trader import Trader
from tests.support.simulated import SimulatedBroker


def added(broker: SimulatedBroker, user: str, like: str) -> int:
    return httpx.put(f"{broker.url}/_simulator/investors/{user}", json={"like": like}).status_code


def test_an_investor_like_another_owns_the_same_under_his_own_id(broker: SimulatedBroker) -> None:
    broker.add_investor("SOAK01")
    asha, soak = Trader(broker), Trader(broker, "SOAK01")
    own = {"userId": "SOAK01", "actId": "SOAK01"}
    assert soak.book() == [row | own for row in asha.book()]
    for call in ("holdings", "positions", "funds"):
        assert soak.read(call) == asha.read(call), call
    assert {row["userId"] for row in soak.read("tradeBook")["result"]} == {"SOAK01"}
    [profile] = soak.read("profile")["result"]
    assert (profile["userId"], profile["actId"]) == ("SOAK01", "SOAK01")


def test_what_he_does_is_his_alone(broker: SimulatedBroker) -> None:
    asha = Trader(broker)
    asha.place()
    seeded = len(asha.book()) - 1
    broker.add_investor("SOAK01", like="ab1234")
    soak = Trader(broker, "SOAK01")
    assert len(soak.book()) == seeded, "he begins as the seed does"
    number = soak.place()
    assert number not in {row["orderNo"] for row in asha.book()}
    assert soak.cancel(number)["status"] == "Ok"
    broker.expire("SOAK01")
    assert asha.funds(), "her token is another"


def test_a_reset_forgets_him(broker: SimulatedBroker) -> None:
    broker.add_investor("SOAK01")
    broker.reset()
    assert httpx.post(f"{broker.url}/_simulator/codes", json={"userId": "SOAK01"}).status_code == 422


@pytest.mark.parametrize(
    ("user", "like"),
    [("AB1234", "EMPTY01"), ("fo5678", "EMPTY01"), ("SOAK01", "NOBODY"), ("soak01", "EMPTY01"), ("*", "EMPTY01")],
)
def test_an_id_that_is_taken_or_none_and_a_model_that_is_not_there_are_refused(
    broker: SimulatedBroker, user: str, like: str
) -> None:
    assert added(broker, user, like) == 422
    assert Trader(broker).read("holdings")["result"]
