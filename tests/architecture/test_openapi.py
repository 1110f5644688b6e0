"""The API's description: examples that are answers, and nothing left to guess."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.health.routes import Health
from app.main import description
from app.openapi_examples import EXAMPLES
from app.order_updates.schemas import OrderEventList
from app.orderbook.events import OrderEvent
from app.ordering import Conversion, NewOrder, OrderTerms
from app.orders.routes import OrderList, TradeList
from app.orders.schemas import Cancellations, CancelledPlacement, Placement, PlacementList
from app.portfolio.routes import HoldingList, PositionList
from app.safeguards.cross_site import EVENT_STREAM
from app.sessions.routes import SessionView
from app.trading import Funds, Margin, OrderWithHistory, Profile

ANSWERS: list[type[BaseModel]] = [
    Funds, Health, OrderList, TradeList, HoldingList, PositionList, Profile, SessionView, OrderWithHistory,
    OrderTerms, NewOrder, Conversion, Margin, Placement, PlacementList, Cancellations, CancelledPlacement,
    OrderEvent, OrderEventList,
]  # fmt: skip


@pytest.mark.parametrize("model", ANSWERS, ids=lambda model: model.__name__)
def test_each_example_is_an_answer_to_the_letter(model: type[BaseModel]) -> None:
    example = EXAMPLES[model.__name__]
    assert model.model_validate(example).model_dump(mode="json") == example


def test_each_schema_has_an_example_and_no_title_that_says_nothing() -> None:
    schemas: dict[str, Any] = description()["components"]["schemas"]
    objects = {name for name, schema in schemas.items() if schema.get("type") == "object"} - {"Problem"}
    assert objects - EXAMPLES.keys() == set()
    assert [name for name in objects for field in schemas[name]["properties"].values() if "title" in field] == []


def test_each_operation_tells_its_problems_its_headers_and_who_may_call_it() -> None:
    for path, operations in description()["paths"].items():
        for operation in operations.values():
            assert "default" in operation["responses"]
            assert all("X-Request-ID" in each["headers"] for each in operation["responses"].values())
            assert ("security" in operation) == path.startswith("/v1/")
            asks = {each["name"] for each in operation.get("parameters", [])}
            assert ("x-background" in asks) == (path.startswith("/v1/") and path != EVENT_STREAM)  # it keeps nobody
