"""What book and positions say about a modification, a cancel or a conversion whose outcome nobody knew."""

from app.broker.wire import BookRow
from app.ordering import Conversion, OrderTerms
from app.orders.converting import BEFORE, quantities
from app.orders.intents import Action, Intent
from app.trading import OrderStatus, Outcome, Position

Found = tuple[Outcome, str | None]


def order_outcome(intent: Intent, rows: list[BookRow]) -> Found | None:
    """Return what became of a modification or a cancel, none while the book does not tell."""
    row = next((each for each in rows if each.order.order_no == intent.order_no), None)
    if row is None:
        return None
    if intent.action is Action.CANCEL:
        return _cancel_outcome(row.order.status)
    if intent.action is Action.MODIFY:
        return _modify_outcome(intent, row)
    return None


def conversion_outcome(intent: Intent, positions: list[Position]) -> Found | None:
    """Return accepted where exactly the quantity has moved from one product to the other; else a person decides."""
    before = intent.terms.get(BEFORE)
    if intent.action is not Action.CONVERT or not before:
        return None
    conversion = Conversion.model_validate({name: value for name, value in intent.terms.items() if name != BEFORE})
    moved = conversion.quantity if conversion.transaction_type == "BUY" else -conversion.quantity
    expected = [before[0] - moved, before[1] + moved]
    return (Outcome.ACCEPTED, None) if quantities(positions, conversion) == expected else None


def _cancel_outcome(status: OrderStatus) -> Found | None:
    if status is OrderStatus.CANCELLED:
        return Outcome.ACCEPTED, None
    return (Outcome.REFUSED, f"The order is {status} already.") if status.is_final else None


def _modify_outcome(intent: Intent, row: BookRow) -> Found | None:
    """Compare what was wanted with what stands; a final order that differs can't be modified any more."""
    wanted, order = OrderTerms.model_validate(intent.terms), row.order
    stands = (order.quantity, order.order_type, order.price or None, order.trigger_price or None)
    asked = (wanted.quantity, wanted.order_type, wanted.price, wanted.trigger_price)
    if stands == asked:
        return Outcome.ACCEPTED, None
    return (Outcome.REFUSED, f"The order is {order.status}.") if order.status.is_final else None
