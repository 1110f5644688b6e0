"""The simulator's answers to order calls have the keys of the recorded ones, and the recorded requests are taken."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.trader import Trader
from tests.support.simulated import SimulatedBroker

SAMPLES = Path(__file__).parents[1] / "samples"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


def keys(content: Any) -> Any:
    """Return what a body is made of: lists by their first row, everything else by its keys."""
    if isinstance(content, list):
        return [keys(content[0])] if content else []
    return {name: keys(value) for name, value in content.items()} if isinstance(content, dict) else None


@pytest.mark.parametrize(
    ("call", "request_of", "answer_of", "shape"),
    [
        ("place", "orders_execute.request", "orders_execute.ok", "current"),
        ("place", "orders_execute.request", "orders_execute.ok.object_2023", "2023"),
        ("modify", "orders_modify.request", "orders_modify.ok", "current"),
        ("cancel", "orders_cancel.request", "orders_cancel.ok", "current"),
        ("margin", "orders_getmargin.request", "orders_getmargin.ok.insufficient", "current"),
        ("convert", "positions_conversion.request", "positions_conversion.ok", "current"),
    ],
)
def test_recorded_requests_are_answered_as_recorded(
    broker: SimulatedBroker, call: str, request_of: str, answer_of: str, shape: str
) -> None:
    asha = Trader(broker)
    broker.shape_call(call, shape)
    content = _about_something_of_hers(asha, call, sample(request_of))
    assert keys(asha.send(call, content).json()) == keys(sample(answer_of))


def _about_something_of_hers(asha: Trader, call: str, content: Any) -> Any:
    """Return the recorded request about an order or a position that she has."""
    if call == "modify":
        return content | {"orderNo": asha.place(tradingSymbol="ZOMATO-EQ"), "priceType": "L", "price": "14.00"}
    if call == "cancel":
        return [{"orderNo": asha.place()}]
    if call == "convert":
        return content | {"tradingSymbol": "TATASTEEL-EQ", "prevProduct": "CNC", "product": "MIS"}
    return content
