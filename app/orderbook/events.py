"""What happens to orders, in the words in which it is stored and told."""

from enum import StrEnum

from pydantic import AwareDatetime

from app.trading import Model, Order


class EventType(StrEnum):
    """What happened to an order. `UNKNOWN`: the broker says a word of it that nobody knows."""

    ACCEPTED = "ACCEPTED"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    PARTLY_FILLED = "PARTLY_FILLED"
    FILLED = "FILLED"
    MODIFIED = "MODIFIED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


class FieldChange(Model):
    """One field of an order, before an event and after it."""

    field: str
    before: str | int | None
    now: str | int | None


class OrderEvent(Model):
    """One real change of one order; ids are 1, 2, 3 … of each user, without a gap. Times in UTC.

    `changes` is empty where the order was shown for the first time; `brokerAt` is when the broker says that it
    happened, null where it does not say, `seenAt` when we saw it.
    """

    id: int
    type: EventType
    order: Order
    changes: list[FieldChange]
    broker_at: AwareDatetime | None
    seen_at: AwareDatetime
