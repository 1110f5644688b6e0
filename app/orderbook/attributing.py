"""Whose order is this: which placement a row of the book belongs to, and which rows it might be.

A correlation that the broker echoes proves it. Without one nothing is proven by likeness: a row that looks like the
order sought is a candidate, and a person decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import get_args
from uuid import UUID

from app.broker.wire import BookRow
from app.orderbook.store import SeenOrder
from app.ordering import Exchange, OrderTerms
from app.trading import TransactionType

_SURE_PART = 12
"""So many characters of a mark are ours beyond chance: the first is the same in all, the others have five bits each."""
_LIKELY_PART = 4
_SHORTEST_MARK = 6
_EXCHANGES = frozenset(get_args(Exchange))


@dataclass(frozen=True)
class Sought:
    """An order that was perhaps placed."""

    terms: OrderTerms
    correlation: str | None
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
        intent_id = next((mine for echo in _echoes(row, seen) if (mine := recognised(echo, correlations))), None)
        if number and intent_id:
            found[number] = intent_id
    return found


def recognised(echo: str | None, correlations: Mapping[str, UUID]) -> UUID | None:
    """Return the placement that an echo belongs to, also where its case was changed, or its end cut, or more added."""
    if echo is None or len(echo) < _SURE_PART:
        return None
    plain = echo.upper()
    found = {intent_id for mark, intent_id in correlations.items() if mark.startswith(plain) or mark in plain}
    return found.pop() if len(found) == 1 else None


def suspects(rows: Iterable[BookRow], seen: Mapping[str, SeenOrder], sought: Sought) -> list[str]:
    """Return the orders that might be the one sought, or a slice of it, newest first.

    Only what is certainly another order is left out: one of another placement, one that we had seen before the intent,
    one that says another instrument or side or is larger, and one whose history has somebody else's mark. What a row
    does not say, or says in a word that we don't know, speaks for nobody; nor does its time, which is of another clock.
    """
    numbers = [row.order.order_no for row in rows if row.order.order_no and _might_be(row, seen, sought)]
    return sorted(set(numbers), reverse=True)  # a number begins with its day and grows


def _might_be(row: BookRow, seen: Mapping[str, SeenOrder], sought: Sought) -> bool:
    known = seen.get(row.order.order_no or "")
    if known and (known.intent_id or known.first_seen_at < sought.created_at):
        return False
    if known and _is_marked_by_others(row, known, sought):
        return False
    order, terms = row.order, sought.terms
    return (
        (order.exchange not in _EXCHANGES or order.exchange == terms.exchange)
        and _agrees(order.trading_symbol, terms.trading_symbol)
        and (order.transaction_type not in set(TransactionType) or order.transaction_type == terms.transaction_type)
        and (order.quantity is None or order.quantity <= terms.quantity)
    )


def _agrees(shown: str | None, wanted: str) -> bool:
    """Say whether a symbol may be the one wanted, with or without its series."""
    one, other = _plain(shown or ""), _plain(wanted)
    return one.startswith(other) or other.startswith(one)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())


def _is_marked_by_others(row: BookRow, known: SeenOrder, sought: Sought) -> bool:
    """Say whether an order's history was read and has a mark that can't be ours, not even a mangled one.

    What the book itself shows is no such mark, nor is a word as short as those that stand for none.
    """
    if known.history_read_at is None or known.correlation is None or known.correlation == row.correlation:
        return False
    mark = _plain(known.correlation)
    return len(mark) >= _SHORTEST_MARK and not _plain(sought.correlation or "").startswith(mark[:_LIKELY_PART])


def _echoes(row: BookRow, seen: Mapping[str, SeenOrder]) -> tuple[str | None, str | None]:
    known = seen.get(row.order.order_no or "")
    return row.correlation, known.correlation if known else None
