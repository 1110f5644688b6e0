"""The broker's limits as the simulator keeps them over sockets: refused past them, or counted alike and carried out."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.calls import READS
from simulator.limits import CONTRACT
from simulator.state import Broker, Config
from tests.simulator.trader import Trader, a_change, an_order
from tests.support.environment import ROOT
from tests.support.simulated import SimulatedBroker, simulated_broker, started

NONE = {"1": 0, "60": 0, "3600": 0, "86400": 0}


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    """Give a trader under enforced limits, with what his login counted forgotten."""
    trader = Trader(broker)
    broker.forget_limits()
    broker.set_limits(enforced=True)
    return trader


@pytest.fixture
def farhan(broker: SimulatedBroker, asha: Trader) -> Trader:
    return Trader(broker, "FO5678")


def ask(trader: Trader, broker: SimulatedBroker, call: str = "funds") -> httpx.Response:
    method, paths = READS[call]
    headers = {"Authorization": f"Bearer {trader.token}"}
    return httpx.request(method, f"{broker.url}{paths[0]}", headers=headers)


def is_refused(answer: httpx.Response) -> bool:
    """Say whether a call was over a limit, and hold what it was told then."""
    if answer.status_code != 429:
        return False
    assert answer.text == "Too Many Requests"
    assert answer.headers["content-type"].startswith("text/plain")
    assert int(answer.headers["retry-after"]) >= 1
    return True


def is_put(broker: SimulatedBroker, wanted: Any) -> int:
    return httpx.put(f"{broker.url}/_simulator/limits", json=wanted).status_code


def test_reads_past_the_limit_of_a_second_are_refused(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"nonTrading": {"1": 1}})
    first, *others = [ask(asha, broker) for _ in range(4)]
    assert first.status_code == 200
    [told] = {each.headers["retry-after"] for each in others if is_refused(each)}  # at least one, however slow we are
    assert told == "1"
    assert broker.limits()["refused"]["nonTrading"]["1"] >= 1


def test_order_calls_past_the_limit_of_a_second_are_refused(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"order": {"1": 1}})
    first, *others = [asha.send("place", [an_order()]) for _ in range(4)]
    assert first.status_code == 200
    assert any(is_refused(each) for each in others)
    assert len(broker.taken()) == 4 - sum(is_refused(each) for each in others)


@pytest.mark.parametrize("seconds", ["60", "3600", "86400"])
def test_the_longer_windows_are_kept_by_category(broker: SimulatedBroker, asha: Trader, seconds: str) -> None:
    broker.set_limits(table={"nonTrading": {seconds: 2}, "order": {seconds: 1}})
    answers = [ask(asha, broker, call) for call in ("funds", "holdings", "positions")]
    assert [is_refused(each) for each in answers] == [False, False, True]
    assert int(seconds) - 20 < int(answers[2].headers["retry-after"]) <= int(seconds)
    assert [is_refused(asha.send("place", [an_order()])) for _ in range(2)] == [False, True]
    told = broker.limits()
    assert told["refused"]["nonTrading"] == NONE | {seconds: 1}
    assert told["refused"]["order"] == NONE | {seconds: 1}
    assert told["refusedTotal"] == 2


def test_an_order_that_is_refused_is_not_taken_and_yet_was_received(broker: SimulatedBroker, asha: Trader) -> None:
    number = asha.place()
    broker.set_limits(table={"order": {"86400": 1}})
    broker.break_call("place", "http500", times=1)
    assert is_refused(asha.send("place", [an_order()]))
    assert is_refused(asha.send("cancel", [{"orderNo": number}]))
    assert is_refused(asha.send("modify", a_change(number, qty="11")))
    assert asha.row(number)["qty"] == "10"
    assert [each["orderNo"] for each in broker.taken()] == [number]
    assert [len(broker.received(call)) for call in ("place", "cancel", "modify")] == [2, 1, 1]
    broker.set_limits(table={"order": {"86400": 9}})
    assert asha.send("place", [an_order()]).status_code == 500  # the fault was not used up


def test_an_investor_does_not_use_up_what_is_anothers(broker: SimulatedBroker, asha: Trader, farhan: Trader) -> None:
    broker.set_limits(table={"nonTrading": {"3600": 1}})
    assert [is_refused(ask(each, broker)) for each in (asha, farhan, asha, farhan)] == [False, False, True, True]
    users = broker.limits()["users"]
    assert users == {user: {"order": 0, "data": 0, "nonTrading": 2} for user in ("AB1234", "FO5678")}


def test_without_enforcement_everything_is_carried_out_and_counted_alike(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(enforced=False, table={"order": {"3600": 1}})
    assert [asha.send("place", [an_order()]).status_code for _ in range(3)] == [200] * 3
    assert len(broker.taken()) == 3
    told = broker.limits()
    assert (told["enforced"], told["refused"]["order"]["3600"], told["refusedTotal"]) == (False, 2, 2)
    assert told["worst"]["order"]["3600"] == 3


def test_an_exchange_takes_so_many_orders_a_second(broker: SimulatedBroker, asha: Trader) -> None:
    batch = [an_order()] * 10
    assert is_refused(asha.send("place", [*batch, an_order()]))
    assert broker.limits()["refused"]["exchange"] == 1
    broker.set_limits(ordersPerSecondPerExchange=1)
    assert asha.send("place", [an_order(), an_order(exchange="BSE")]).status_code == 200
    number = broker.taken()[0]["orderNo"]
    answers = [asha.send("cancel", [{"orderNo": each}] * 2) for each in (number, "250101")]
    assert [is_refused(each) for each in answers] == [True, False]  # nobody knows where the other was sent
    assert is_refused(asha.send("place", [an_order(exchange="BSE")] * 2))
    told = broker.limits()
    assert (told["refused"]["exchange"], told["refusedTotal"], told["ordersPerSecondPerExchange"]) == (3, 3, 1)
    assert told["refused"]["order"] == NONE


def test_who_speaks_for_nobody_is_counted_and_never_refused(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"nonTrading": {"86400": 1}})
    farhan = Trader(broker, "FO5678")
    Trader(broker, "FO5678")
    assert [ask(farhan, broker).status_code for _ in range(2)] == [401, 401]
    told = broker.limits()
    assert (told["received"]["nonTrading"], told["refusedTotal"], told["users"]) == (4, 0, {})
    assert told["worst"]["nonTrading"]["86400"] == 0


def test_what_is_not_named_stays(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"data": {"60": 7}})
    broker.set_limits(table={"data": {"1": 3}}, enforced=None, ordersPerSecondPerExchange=None)
    broker.set_limits(table=None, ordersPerSecondPerExchange=4)
    told = broker.limits()
    assert told["table"] == as_told({"data": {1: 3, 60: 7}})
    assert (told["enforced"], told["ordersPerSecondPerExchange"]) == (True, 4)


def test_forgetting_and_reset_put_back_what_there_was(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"nonTrading": {"3600": 1}}, ordersPerSecondPerExchange=1)
    assert [is_refused(ask(asha, broker)) for _ in range(2)] == [False, True]
    broker.forget_limits()
    fresh = {
        "table": as_told({}), "ordersPerSecondPerExchange": 10, "users": {}, "refusedTotal": 0,
        "received": dict.fromkeys(CONTRACT, 0), "refused": dict.fromkeys(CONTRACT, NONE) | {"exchange": 0},
        "worst": dict.fromkeys(CONTRACT, NONE),
    }  # fmt: skip
    assert broker.limits() == fresh | {"enforced": True}
    broker.set_limits(table={"order": {"1": 1}}, ordersPerSecondPerExchange=1)
    assert not is_refused(ask(asha, broker))
    broker.reset()
    assert broker.limits() == fresh | {"enforced": False}


@pytest.mark.parametrize(
    "wanted",
    [
        {"enforce": True}, {"enforced": "perhaps"}, {"table": {"orders": {"1": 1}}}, {"table": {"order": {"2": 1}}},
        {"table": {"order": {"1": 0}}}, {"table": {"order": 5}}, {"ordersPerSecondPerExchange": 0}, [],
    ],
)  # fmt: skip
def test_limits_that_cannot_be_are_refused(broker: SimulatedBroker, wanted: Any) -> None:
    assert is_put(broker, wanted) == 422
    assert broker.limits()["table"] == as_told({})


def test_the_page_shows_what_was_received_and_what_was_over(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_limits(table={"nonTrading": {"3600": 1}})
    for _ in range(3):
        ask(asha, broker)
    page = httpx.get(f"{broker.url}/_simulator/").text
    assert "Calls over a limit: 2, of which 0 over that of an exchange; they are answered with 429" in page
    cells = "".join(f"<td>{each}</td>" for each in ("nonTrading", 3, 0, 0, 2, 0))
    assert f"<tr>{cells}</tr>" in page
    broker.set_limits(enforced=False)
    assert "they are counted and carried out" in httpx.get(f"{broker.url}/_simulator/").text


def test_it_enforces_the_limits_unless_it_is_started_otherwise(tmp_path: Path) -> None:
    assert Broker(Config()).limits.is_enforced
    with simulated_broker(tmp_path, SIMULATOR_RATE_LIMITS="on") as broker:
        assert broker.limits()["enforced"] is True
        broker.set_limits(enforced=False)
        broker.reset()
        assert broker.limits()["enforced"] is True
    with simulated_broker(tmp_path) as broker:
        assert broker.limits()["enforced"] is False


def test_limits_that_are_neither_on_nor_off_are_said_in_one_sentence() -> None:
    for done in (started("--rate-limits", "perhaps"), started(SIMULATOR_RATE_LIMITS="perhaps")):
        assert done.returncode == 2
        assert done.stderr.strip().endswith("argument --rate-limits: the limits are on or off")


def test_every_key_and_every_limit_stands_in_the_docs(broker: SimulatedBroker) -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")
    assert [key for key in broker.limits() if f"`{key}`" not in page] == []
    assert [name for name in CONTRACT if f"| `{name}` |" not in page] == []
    rows = [" | ".join(str(limit) for limit in limits.values()) for limits in CONTRACT.values()]
    assert [row for row in rows if f"| {row} |" not in page] == []


def as_told(changed: dict[str, dict[int, int]]) -> dict[str, dict[str, int]]:
    """Return the contract's table with these limits instead, as the switch tells it."""
    merged = {category: {**limits, **changed.get(category, {})} for category, limits in CONTRACT.items()}
    return {category: {str(length): limit for length, limit in limits.items()} for category, limits in merged.items()}
