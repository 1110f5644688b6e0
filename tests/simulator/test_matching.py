"""When the simulated broker's orders fill, wait, trigger, and are gone."""

import time
from collections.abc import Callable

import httpx
import pytest

from simulator.contracts import SEGMENTS, csv_of
from simulator.market import Market
from tests.simulator.trader import Trader
from tests.support.simulated import SimulatedBroker

BUY, SELL = {"transType": "B"}, {"transType": "S"}
MARKET = {"priceType": "MKT", "price": "0"}


@pytest.fixture
def asha(broker: SimulatedBroker) -> Trader:
    return Trader(broker)


def until(holds: Callable[[], bool]) -> None:
    """Wait for what has to come; a test that waits in vain fails here."""
    give_up_at = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_market_order_fills_at_the_price(broker: SimulatedBroker, asha: Trader) -> None:
    broker.set_price("IDEA-EQ", "14.35")
    number = asha.place(**MARKET)
    row = asha.row(number)
    assert (row["orderStatus"], row["fillShares"], row["avgTradePrice"]) == ("COMPLETE", "10", "14.35")
    [trade] = asha.trades(number)
    assert (trade["fillqty"], trade["fillshares"], trade["fillprc"]) == ("10", "10", "14.35")


@pytest.mark.parametrize(
    ("side", "limit", "just_short", "enough"),
    [(BUY, "14.00", "14.05", "14.00"), (SELL, "14.50", "14.45", "14.50")],
)
def test_a_limit_order_waits_for_its_price(
    broker: SimulatedBroker, asha: Trader, side: dict[str, str], limit: str, just_short: str, enough: str
) -> None:
    number = asha.place(price=limit, **side)
    broker.set_price("IDEA-EQ", just_short)
    assert asha.standing(number) == ("OPEN", "0")
    broker.set_price("SBIN-EQ", "1.00")
    assert asha.standing(number) == ("OPEN", "0")
    broker.set_price("IDEA-EQ", enough)
    assert asha.standing(number) == ("COMPLETE", "10")


@pytest.mark.parametrize(
    ("side", "trigger", "limit", "walk"),
    [(BUY, "14.50", "14.60", ("14.45", "14.70", "14.60")), (SELL, "14.00", "13.90", ("14.05", "13.80", "13.90"))],
)
def test_a_stop_limit_order_triggers_and_then_waits_for_its_limit(
    broker: SimulatedBroker, asha: Trader, side: dict[str, str], trigger: str, limit: str, walk: tuple[str, str, str]
) -> None:
    just_short, reached, fills = walk
    number = asha.place(priceType="SL", triggerPrice=trigger, price=limit, **side)
    broker.set_price("IDEA-EQ", just_short)
    assert asha.standing(number) == ("TRIGGER_PENDING", "0")
    broker.set_price("IDEA-EQ", reached)
    assert asha.standing(number) == ("OPEN", "0")
    broker.set_price("IDEA-EQ", fills)
    assert asha.standing(number) == ("COMPLETE", "10")
    assert [step["report"] for step in asha.history(number)] == ["Fill", "Triggered", "New", "NewAck"]


@pytest.mark.parametrize(("side", "trigger"), [(BUY, "14.50"), (SELL, "14.00")])
def test_a_stop_market_order_fills_once_it_triggers(
    broker: SimulatedBroker, asha: Trader, side: dict[str, str], trigger: str
) -> None:
    number = asha.place(priceType="SL-M", triggerPrice=trigger, price="0", **side)
    assert asha.standing(number) == ("TRIGGER_PENDING", "0")
    broker.set_price("IDEA-EQ", trigger)
    assert asha.standing(number) == ("COMPLETE", "10")


def test_a_waiting_stop_can_be_changed_into_a_limit_order(asha: Trader) -> None:
    number = asha.place(priceType="SL", triggerPrice="14.50", price="14.60")
    asha.modify(number, priceType="L", price="14.10")
    assert asha.standing(number) == ("OPEN", "0")
    asha.modify(number, price="14.20")
    assert asha.standing(number) == ("COMPLETE", "10")


def test_an_order_fills_in_parts(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(fillAtMost=4)
    number = asha.place(**MARKET)
    assert asha.standing(number) == ("OPEN", "4")
    broker.set_price("IDEA-EQ", "14.40")
    assert asha.standing(number) == ("OPEN", "8")
    assert asha.row(number)["avgTradePrice"] == "14.30"
    broker.set_price("IDEA-EQ", "14.40")
    assert asha.standing(number) == ("COMPLETE", "10")
    trades = asha.trades(number)
    assert [(each["fillqty"], each["fillshares"]) for each in trades] == [("4", "4"), ("4", "8"), ("2", "10")]
    assert len({each["fillId"] for each in trades}) == 3


def test_a_quantity_taken_down_to_what_is_filled_is_complete(broker: SimulatedBroker, asha: Trader) -> None:
    broker.order_switches(fillAtMost=4)
    number = asha.place(**MARKET)
    assert asha.modify(number, qty="4", **MARKET)["status"] == "Ok"
    assert asha.standing(number) == ("COMPLETE", "4")


def test_what_cannot_wait_keeps_what_it_got(broker: SimulatedBroker, asha: Trader) -> None:
    nothing = asha.place(ret="IOC")
    assert asha.standing(nothing) == ("CANCELED", "0")
    broker.order_switches(fillAtMost=4)
    some = asha.place(ret="IOC", **MARKET)
    assert asha.standing(some) == ("CANCELED", "4")


def test_an_after_market_order_waits_for_the_opening(broker: SimulatedBroker, asha: Trader) -> None:
    number = asha.place(orderType="AMO", **MARKET)
    broker.set_price("IDEA-EQ", "14.00")
    assert asha.standing(number) == ("AMO received", "0")
    assert [step["report"] for step in asha.history(number)] == ["AMO received", "NewAck"]
    assert asha.modify(number, qty="5", **MARKET)["status"] == "Ok"
    broker.market_open()
    assert asha.standing(number) == ("COMPLETE", "5")


def test_an_after_market_order_is_cancelled_in_a_word_of_its_own(asha: Trader) -> None:
    number = asha.place(orderType="AMO")
    asha.cancel(number)
    assert asha.row(number)["orderStatus"] == "AMO CANCELLED"


def test_the_day_ends_for_what_is_open_and_not_for_what_waits_for_the_next(
    broker: SimulatedBroker, asha: Trader
) -> None:
    open_one, waiting = asha.place(), asha.place(priceType="SL", triggerPrice="14.50", price="14.60")
    done, tomorrow = asha.place(**MARKET), asha.place(orderType="AMO")
    broker.day_end()
    assert [asha.row(number)["orderStatus"] for number in (open_one, waiting, done, tomorrow)] == [
        "CANCELED", "CANCELED", "COMPLETE", "AMO received",
    ]  # fmt: skip


def test_prices_stand_still_until_they_are_told_to_move(broker: SimulatedBroker, asha: Trader) -> None:
    def prices() -> dict[str, str]:
        found: dict[str, str] = httpx.get(f"{broker.url}/_simulator/prices").json()
        return found

    still = prices()
    time.sleep(1.3)
    assert prices() == still
    number = asha.place(price="14.00")
    broker.set_price("IDEA-EQ", "14.05")
    broker.move_prices(moving=True)
    until(lambda: prices()["RELIANCE-EQ"] != still["RELIANCE-EQ"])
    until(lambda: asha.row(number)["orderStatus"] == "COMPLETE")
    broker.reset()
    assert prices() == still


def test_every_symbol_of_the_contract_master_has_a_price() -> None:
    market = Market()
    lines = [line.split(",") for segment in SEGMENTS[:-1] for line in csv_of(segment).splitlines()[1:]]
    symbols = {line[3] for line in lines if line[3]}
    assert symbols
    assert all(market.price(symbol) > 0 for symbol in symbols)
    assert {symbol for symbol in symbols if symbol not in market.prices} == {
        symbol for symbol in symbols if symbol.endswith(("CE", "PE"))
    } - {"NIFTY26DEC26000CE"}  # options have the default
