"""What one look at the book has seen, and what is still to be sought in it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.broker.wire import BookRow
from app.orderbook.attributing import Sought, suspects
from app.orderbook.store import SeenOrder
from app.ordering import OrderTerms
from app.orders.intents import Action, Intent
from app.trading import OrderStatus, Outcome, Position, Variety

_LONGEST_WEEKEND = timedelta(days=6)
_READ_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Book:
    """What one look has seen: rows, and the store's time just before they were asked for."""

    rows: list[BookRow]
    as_of: datetime
    seen: dict[str, SeenOrder]
    correlations: dict[str, UUID]
    has_echo: bool
    is_whole: bool
    """Whether what it does not show is not there: every row names its order, and none that it has shown is gone."""
    is_searched: bool = False
    """Whether the histories of what might be ours have been read as well, as far as they could be."""
    positions: list[Position] | None = None


def histories_to_read(intents: list[Intent], book: Book) -> list[str]:
    """Return the orders whose history may tell: what might be an unknown one, what would prove an echo, then slices."""
    unread = {number for number, order in book.seen.items() if _is_worth_reading(order, book.as_of)}
    placements = [each for each in intents if each.action is Action.PLACE]
    sought = [each for each in placements if each.state != Outcome.ACCEPTED]
    sliced = [each for each in placements if each.state == Outcome.ACCEPTED]
    unmarked = (number for number in sorted(unread) if _is_ours_without_a_mark(book.seen[number]))
    proof = [] if book.has_echo or not sought else list(unmarked)[-1:]
    return list(dict.fromkeys([*_likely(sought, book, unread), *proof, *_likely(sliced, book, unread)]))


def _likely(intents: list[Intent], book: Book, unread: set[str]) -> list[str]:
    """Return the orders that might be one of these and whose history may still tell."""
    return [
        number for each in intents for number in suspects(book.rows, book.seen, sought_by(each)) if number in unread
    ]


def _is_ours_without_a_mark(order: SeenOrder) -> bool:
    return order.intent_id is not None and order.correlation is None


def sought_by(intent: Intent) -> Sought:
    return Sought(OrderTerms.model_validate(intent.terms), intent.correlation, intent.created_at)


def is_complete(intent: Intent, orders: list[SeenOrder]) -> bool:
    """Say whether all slices are known and each has passed the risk system, or was refused by it."""
    total = sum(each.quantity or 0 for each in orders)
    if total < int(intent.terms["quantity"]):
        return False
    if intent.cancel_wanted_at:
        return all(each.is_final for each in orders)
    return all(each.status not in {None, OrderStatus.UNKNOWN, OrderStatus.ACCEPTED} for each in orders)


def rests_overnight(intent: Intent, now: datetime) -> bool:
    """Say whether an accepted order waits for the next market, so that a refusal of it comes on another day."""
    is_amo = intent.terms.get("variety") == Variety.AMO and intent.state == Outcome.ACCEPTED
    return is_amo and now - intent.created_at < _LONGEST_WEEKEND


def _is_worth_reading(order: SeenOrder, now: datetime) -> bool:
    """Say whether an order's history may tell more than it did: a mark may come later than the order."""
    return order.history_read_at is None or now - order.history_read_at >= _READ_AGAIN
