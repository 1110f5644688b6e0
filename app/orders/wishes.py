"""What is to be done at the broker for one investor, and what became of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.broker.permits import Clearance
from app.broker.verdicts import Verdict
from app.orderbook.store import SeenOrder
from app.orders.intents import Action, Intent
from app.safeguards.idempotency import Repeatable


@dataclass(frozen=True)
class Risk:
    """What halts and caps have to know; `value` in rupees, none where it can't be told. A cancel has none.

    With `refuses_twin` an order of the same likeness whose outcome nobody knows stands in its way.
    """

    quantity: int | None = None
    value: Decimal | None = None
    is_new_order: bool = False
    refuses_twin: bool = False


Send = Callable[[Clearance, str | None], Awaitable[Verdict]]
"""Lets the bytes go, given leave for it and our correlation."""


@dataclass(frozen=True)
class Wish:
    """One thing to be done for one investor.

    What is no news was wanted before, and quickens no looks at the book. Where the outcome is `known` already, nothing
    is sent.
    """

    action: Action
    terms: Mapping[str, Any]
    send: Send
    likeness: bytes
    risk: Risk | None = None
    repeatable: Repeatable | None = None
    order_no: str | None = None
    exchanges: tuple[str, ...] = ()
    known: Verdict | None = None
    is_news: bool = True


@dataclass(frozen=True)
class Done:
    """What became of a wish; a replay did nothing. Its orders are told where they are known as they stand now."""

    intent: Intent
    is_replay: bool = False
    is_session_dead: bool = False
    orders: list[SeenOrder] | None = None
