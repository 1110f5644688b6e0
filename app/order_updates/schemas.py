"""How order events are listed."""

from pydantic import AwareDatetime

from app.orderbook.events import OrderEvent
from app.trading import Model


class OrderEventList(Model):
    """A page of the caller's order events, oldest first, and the id of the newest that there is."""

    order_events: list[OrderEvent]
    as_of: AwareDatetime
    next_cursor: str | None
    last_event_id: int
