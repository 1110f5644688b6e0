"""What became of something done at the broker, as the frontend sees it."""

from uuid import UUID

from pydantic import AwareDatetime

from app.orderbook.store import SeenOrder
from app.ordering import Conversion, OrderTerms
from app.orders.intents import Action, Intent
from app.trading import Model, OrderStatus, Outcome


class PlacedOrder(Model):
    """One order at the broker; `status` is null until the book has shown it."""

    order_no: str
    status: OrderStatus | None
    rejection_reason: str | None


class Placement(Model):
    """What became of one placement, modification, cancel or conversion; times in UTC.

    `accepted` means that the broker has taken it, not that it is done: see `orders`, and the order book. `unknown` is
    neither done nor failed and is being found out; `candidates` are orders that it might be. `reason` is the broker's
    words or a slug of ours.
    """

    placement_id: UUID
    action: Action
    outcome: Outcome
    orders: list[PlacedOrder]
    reason: str | None
    order: OrderTerms | None
    conversion: Conversion | None
    candidates: list[str]
    created_at: AwareDatetime
    resolved_at: AwareDatetime | None


class PlacementList(Model):
    """Placements, newest first, and where the list goes on."""

    placements: list[Placement]
    as_of: AwareDatetime
    next_cursor: str | None


class Cancelled(Model):
    """What became of the cancel of one order."""

    order_no: str
    outcome: Outcome
    reason: str | None
    placement_id: UUID | None


class Cancellations(Model):
    """What became of the cancels of all open orders."""

    cancellations: list[Cancelled]


class CancelledPlacement(Placement):
    """A placement, and what became of the cancel of each of its orders; what still turns up is cancelled too."""

    cancellations: list[Cancelled]


def shown(intent: Intent, orders: list[SeenOrder]) -> Placement:
    """Return an intent as the frontend sees it, with the orders that came from it or that it is about."""
    return Placement(
        placement_id=intent.id,
        action=intent.action,
        outcome=intent.outcome,
        orders=[_placed(each) for each in orders] or _named(intent),
        reason=intent.reason or _late_refusal(intent, orders),
        order=_terms(intent),
        conversion=_conversion(intent),
        candidates=intent.candidates,
        created_at=intent.created_at,
        resolved_at=intent.resolved_at,
    )


def _placed(order: SeenOrder) -> PlacedOrder:
    return PlacedOrder(order_no=order.order_no, status=order.status, rejection_reason=order.rejection_reason)


def _named(intent: Intent) -> list[PlacedOrder]:
    """Return the order that a modification or cancel is about."""
    return [PlacedOrder(order_no=intent.order_no, status=None, rejection_reason=None)] if intent.order_no else []


def _late_refusal(intent: Intent, orders: list[SeenOrder]) -> str | None:
    """Return why the risk system refused what had been accepted, if it has."""
    if intent.action is not Action.PLACE:
        return None
    reasons = (each.rejection_reason for each in orders if each.status is OrderStatus.REJECTED)
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None


def _conversion(intent: Intent) -> Conversion | None:
    if intent.action is not Action.CONVERT:
        return None
    return Conversion.model_validate(intent.wanted)


def _terms(intent: Intent) -> OrderTerms | None:
    return OrderTerms.model_validate(intent.wanted) if intent.action in {Action.PLACE, Action.MODIFY} else None
