"""What book and positions say about a modification, a cancel or a conversion whose outcome nobody knew."""

from app.broker.wire import BookRow
from app.ordering import Conversion, OrderChange, OrderTerms
from app.orders.converting import quantities
from app.orders.intents import BEFORE, Action, Intent
from app.trading import OrderStatus, Outcome, Position

Found = tuple[Outcome, str | None]


def order_outcome(intent: Intent, rows: list[BookRow]) -> Found | None:
    """Return what became of a modification or a cancel, none while the book does not tell."""
    row = next((each for each in rows if each.order.order_no == intent.order_no), None)
    if row is None:
        return None
    return _cancel_outcome(row.order.status) if intent.action is Action.CANCEL else _modify_outcome(intent, row)


def conversion_outcome(intent: Intent, positions: list[Position]) -> Found | None:
    """Return accepted where exactly the quantity has moved from one product to the other; else a person decides."""
    before = intent.terms[BEFORE]
    if before is None:  # the positions were not to be had then
        return None
    conversion = Conversion.model_validate(intent.wanted)
    moved = conversion.quantity if conversion.transaction_type == "BUY" else -conversion.quantity
    expected = [before[0] - moved, before[1] + moved]
    return (Outcome.ACCEPTED, None) if quantities(positions, conversion) == expected else None


def _cancel_outcome(status: OrderStatus) -> Found | None:
    if status is OrderStatus.CANCELLED:
        return Outcome.ACCEPTED, None
    return (Outcome.REFUSED, f"The order is {status} already.") if status.is_final else None


def _modify_outcome(intent: Intent, row: BookRow) -> Found | None:
    """Compare what was to change with what stands; a final order that stands as before was not modified."""
    asked, before, stands = _compared(intent.wanted), _compared(intent.terms[BEFORE]), _shown(row)
    changed = [name for name in asked if asked[name] != before[name]]
    if not changed:
        return None
    if all(stands[name] == asked[name] for name in changed):
        return Outcome.ACCEPTED, None
    was_left = row.order.status.is_final and all(stands[name] == before[name] for name in changed)
    return (Outcome.REFUSED, f"The order is {row.order.status}.") if was_left else None


def _compared(terms: dict[str, object]) -> dict[str, object]:
    """Return what of an order can be modified."""
    known = OrderTerms.model_validate(terms)
    return {name: getattr(known, name) for name in OrderChange.model_fields}


def _shown(row: BookRow) -> dict[str, object]:
    order = row.order
    return {
        "quantity": order.quantity,
        "order_type": order.order_type,
        "price": order.price or None,
        "trigger_price": order.trigger_price or None,
        "validity": order.validity,
        "disclosed_quantity": row.disclosed_quantity or None,
    }
