"""What has happened to an order between two sights of it; the one place that says what an event is.

One event for each real change: terms and fills that changed between the same two sights are two. A field that is only
written in another way is no change, and what is final stays as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.broker.wire import BookRow
from app.broker.words import says_expired
from app.orderbook.events import EventType
from app.orderbook.store import SeenOrder
from app.trading import OrderStatus, Validity, Variety

Shown = Mapping[str, Any]
"""An order as JSON, as `GET /v1/orders` shows it, without its placement."""

_TERMS = frozenset({"quantity", "price", "triggerPrice", "product", "orderType", "validity"})
_TRIGGERED = frozenset({"price", "triggerPrice", "orderType"})
_FILLS = frozenset({"filledQuantity", "pendingQuantity", "averagePrice"})
_MONEY = frozenset({"price", "triggerPrice", "averagePrice"})
_ENDS = {
    OrderStatus.COMPLETE: EventType.FILLED,
    OrderStatus.CANCELLED: EventType.CANCELLED,
    OrderStatus.REJECTED: EventType.REJECTED,
}
_DAY_ONLY = frozenset({Validity.DAY, Validity.IOC})
_LONGEST_WEEKEND = timedelta(days=6)
_LIMITS = frozenset({"price", "triggerPrice"})


@dataclass(frozen=True)
class Change:
    """One event that nobody has numbered yet; `changes` names fields with what they were and are."""

    order_no: str
    type: EventType
    shown: Shown
    changes: list[dict[str, Any]]
    broker_at: datetime | None


def is_over(shown: Shown) -> bool:
    """Say whether nothing more can happen to an order."""
    return OrderStatus(shown["status"]).is_final or says_expired(shown["statusText"])


def changes_of(rows: Iterable[BookRow], known: Mapping[str, SeenOrder], day: date) -> list[Change]:
    """Return what a book of this trading day shows that was not known, in the order of the orders' numbers.

    `known` are the orders of these rows, and those of earlier days that had not ended: of what was good for its day and
    is not in a later day's book nobody has seen the end.
    """
    latest = rows_by_number(rows)
    found = [change for number in sorted(latest) for change in _changes(number, latest[number], known.get(number))]
    gone = (order for number, order in sorted(known.items()) if number not in latest)
    return found + [unseen_end(order) for order in gone if is_out_of_sight(order, day)]


def rows_by_number(rows: Iterable[BookRow]) -> dict[str, BookRow]:
    """Return the rows that name their order; of two about one order the one that is still open counts."""
    ordered = sorted(rows, key=lambda row: row.order.status.is_final)  # a cancel that nobody needs does no harm
    found: dict[str, BookRow] = {}
    for row in ordered:
        if row.order.order_no:
            found.setdefault(row.order.order_no, row)
    return found


def is_out_of_sight(order: SeenOrder, day: date) -> bool:
    """Say whether an order that the book of this day does not show was good for an earlier day, and seen open then."""
    shown = order.shown
    if shown is None or order.status is None or is_over(shown):
        return False
    is_for_its_day = shown["validity"] in _DAY_ONLY and shown["variety"] == Variety.REGULAR
    last_day = order.trading_day + (timedelta(0) if is_for_its_day else _LONGEST_WEEKEND)
    return last_day < day


def said(row: BookRow, before: Shown | None) -> dict[str, Any]:
    """Return an order as a row shows it; where the row leaves something blank, it says nothing of it."""
    now = row.shown
    if before is None or before == now:
        return now
    if now["statusText"] is None:  # no word for its status, which is then `UNKNOWN` to us
        now = now | {"status": before["status"], "pendingQuantity": before["pendingQuantity"]}
    kept = {
        name: told
        for name, told in before.items()
        if now.get(name, told) is None and told is not None and _is_left_out(name, before, now)
    }
    return now | kept


def _is_left_out(name: str, before: Shown, now: Shown) -> bool:
    """Say whether a blank means nothing; a price goes with the kind of order that has none."""
    is_other_kind = now["orderType"] is not None and now["orderType"] != before["orderType"]
    return name != "rejectionReason" and not (name in _LIMITS and is_other_kind)


def _changes(number: str, row: BookRow, known: SeenOrder | None) -> list[Change]:
    now = row.shown
    if known is None or known.status is None or known.shown is None:  # or told by nobody, as before a release of events
        return [Change(number, _state(now), now, [], row.changed_at or row.order.placed_at)]
    before, now = known.shown, said(row, known.shown)
    return [
        Change(number, kind, now, [{"field": name, "before": before.get(name), "now": now[name]} for name in fields],
               row.changed_at)
        for kind, fields in _events(before, now)
    ]  # fmt: skip


def differs(before: Shown | None, now: Shown) -> bool:
    """Say whether anything of an order is other than it was told.

    Of an order that had been filled and is not any more nothing is believed: no fill goes back, but books flap.
    """
    if before == now:  # nearly always, and quickly said
        return False
    if before is not None and (now["filledQuantity"] or 0) < (before["filledQuantity"] or 0):
        return False
    return before is None or any(not _is_same(name, before.get(name), now[name]) for name in now)


def _events(before: Shown, now: Shown) -> list[tuple[EventType, list[str]]]:
    """Return what has happened, each with the fields that tell it."""
    if is_over(before) or not differs(before, now):
        return []
    differing = [name for name in now if not _is_same(name, before.get(name), now[name])]
    has_left = now["status"] in {OrderStatus.OPEN, OrderStatus.COMPLETE}
    is_triggered = before["status"] == OrderStatus.TRIGGER_PENDING and has_left
    terms = [name for name in differing if name in _TERMS and not (is_triggered and name in _TRIGGERED)]
    if "quantity" in terms and before["filledQuantity"] == now["filledQuantity"] and not is_over(now):
        terms += [name for name in differing if name == "pendingQuantity"]
    found = [(EventType.MODIFIED, terms)] if terms else []
    rest = [name for name in differing if name not in terms]
    has_filled = (now["filledQuantity"] or 0) > (before["filledQuantity"] or 0)
    if not is_over(before) and is_over(now):
        if has_filled and now["status"] != OrderStatus.COMPLETE:
            fills = [name for name in rest if name in _FILLS]
            found.append((EventType.PARTLY_FILLED, fills))
            rest = [name for name in rest if name not in fills]
        return [*found, (_state(now), rest)]
    if has_filled:
        return [*found, (EventType.PARTLY_FILLED, rest)]
    is_other_word = now["status"] == OrderStatus.UNKNOWN and "statusText" in differing
    if now["status"] != before["status"] or is_other_word:
        return [*found, (_status(now), rest)]
    return found


def _state(shown: Shown) -> EventType:
    """Return what an order is told as that is seen for the first time, or at its end."""
    if says_expired(shown["statusText"]):
        return EventType.EXPIRED
    is_partly = bool(shown["filledQuantity"]) and shown["status"] in {OrderStatus.OPEN, OrderStatus.TRIGGER_PENDING}
    return EventType.PARTLY_FILLED if is_partly else _status(shown)


def _status(shown: Shown) -> EventType:
    status = OrderStatus(shown["status"])
    return _ENDS.get(status) or EventType(status)


def unseen_end(order: SeenOrder) -> Change:
    """Return what can be said of an order whose day is over and whose end no book has shown: that nobody knows it."""
    before = order.shown or {}
    now = {**before, "status": OrderStatus.UNKNOWN.value, "statusText": None, "pendingQuantity": None}
    fields = [name for name in now if now[name] != before[name]]
    changes = [{"field": name, "before": before[name], "now": now[name]} for name in fields]
    return Change(order.order_no, EventType.UNKNOWN, now, changes, None)


def _is_same(name: str, before: Any, now: Any) -> bool:
    if name in _MONEY:
        return (_amount(before)) == (_amount(now))
    return bool(before == now)


def _amount(written: Any) -> Decimal:
    """Return an amount; that there is none the broker writes as nothing or as zero."""
    return Decimal(written or 0)
