"""Whose order is this: which placement a row of the book belongs to, and which rows it might be.

A correlation that the broker echoes proves it. Without one nothing is proven by likeness: a row that looks like the
order sought is a candidate, and a person decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.broker.wire import BookRow
from app.orderbook.store import SeenOrder
from app.ordering import OrderTerms

_CLOCKS_DIFFER = timedelta(minutes=1)
"""By so much a row may seem older than the intent it came from; the broker's times are whole seconds of its clock."""


@dataclass(frozen=True)
class Sought:
    """An order that was perhaps placed."""

    intent_id: UUID
    terms: OrderTerms
    created_at: datetime


def is_clean(rows: Iterable[BookRow]) -> bool:
    """Say whether a book may count for what it does not show: every row of it says which order it is."""
    return all(row.order.order_no for row in rows)


def by_correlation(
    rows: Iterable[BookRow], seen: Mapping[str, SeenOrder], correlations: Mapping[str, UUID]
) -> dict[str, UUID]:
    """Return which order came from which placement, for every order with an echo of ours in the book or remembered."""
    found: dict[str, UUID] = {}
    for row in rows:
        number = row.order.order_no
        intent_id = correlations.get(_echo(row, seen) or "")
        if number and intent_id:
            found[number] = intent_id
    return found


def suspects(rows: Iterable[BookRow], seen: Mapping[str, SeenOrder], sought: Sought) -> list[str]:
    """Return the orders that might be the one sought, or a slice of it, newest first.

    They match instrument and side, are no larger, no older, belong to no placement, and echo nobody's correlation.
    """
    likely = [row for row in rows if _is_like(row, sought) and _is_nobodys(row, seen)]
    numbers = [row.order.order_no for row in likely if row.order.order_no]
    return sorted(numbers, reverse=True)  # a number begins with its day and grows


def _is_like(row: BookRow, sought: Sought) -> bool:
    order, terms = row.order, sought.terms
    is_same = (order.exchange, order.trading_symbol, order.transaction_type) == (
        terms.exchange,
        terms.trading_symbol,
        terms.transaction_type,
    )
    is_no_larger = order.quantity is None or order.quantity <= terms.quantity
    is_no_older = order.placed_at is None or order.placed_at >= sought.created_at - _CLOCKS_DIFFER
    return is_same and is_no_larger and is_no_older


def _is_nobodys(row: BookRow, seen: Mapping[str, SeenOrder]) -> bool:
    known = seen.get(row.order.order_no or "")
    return _echo(row, seen) is None and (known is None or known.intent_id is None)


def _echo(row: BookRow, seen: Mapping[str, SeenOrder]) -> str | None:
    known = seen.get(row.order.order_no or "")
    return row.correlation or (known.correlation if known else None)
