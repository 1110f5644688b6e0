"""How an outcome is told: 200 or 201 accepted, 202 unknown, 422 refused; a replay tells what is known by now."""

from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

from app.broker.verdicts import NOT_SENT
from app.db import Database
from app.orderbook import store as orderbook
from app.orderbook.store import SeenOrder
from app.orders import store
from app.orders.changing import CancelledOrder
from app.orders.intents import NOT_FOUND_AT_BROKER, Action, Intent, Page
from app.orders.schemas import Cancelled, CancelledPlacement, Placement, PlacementList, shown
from app.orders.wishes import Done
from app.paging import moments_between
from app.problems import (
    BrokerRateLimited,
    BrokerSessionExpired,
    NotFound,
    OrderRefused,
    RateLimited,
    TemporarilyUnavailable,
)
from app.settings import Settings
from app.trading import Outcome

_SENTENCES = {
    NOT_SENT: "Nothing was sent: there was no connection to the broker in time.",
    NOT_FOUND_AT_BROKER: "The order never reached the broker's book.",
    BrokerSessionExpired.slug: "The broker no longer knew the session, and has not taken the order.",
    RateLimited.slug: "Nothing was sent: there was no connection in time, and then nothing left of the limits.",
    BrokerRateLimited.slug: "The broker had too many calls, and has not taken the order.",
}


@dataclass(frozen=True)
class Told:
    """What goes to the caller."""

    placement: Placement
    status: int
    headers: dict[str, str]


async def told(done: Done, db: Database, settings: Settings) -> Told:
    """Return an outcome as it is told; raises `OrderRefused`, or `BrokerSessionExpired` when that has just died."""
    intent = done.intent
    headers = {"Idempotency-Replayed": "true"} if done.is_replay else {}
    if intent.outcome is Outcome.REFUSED:
        if done.is_session_dead:
            raise BrokerSessionExpired(placementId=str(intent.id))
        reason = intent.reason or ""
        detail = _SENTENCES.get(reason, f"The broker says: {reason}")
        raise OrderRefused(detail, headers=headers, placementId=str(intent.id), reason=reason)
    headers["Location"] = f"{urlsplit(settings.public_base_url).path}/v1/placements/{intent.id}"
    placement = await placement_as_known(db, intent) if done.orders is None else shown(intent, done.orders)
    if placement.outcome is Outcome.UNKNOWN:
        return Told(placement, HTTPStatus.ACCEPTED, headers)
    return Told(placement, HTTPStatus.CREATED if intent.action is Action.PLACE else HTTPStatus.OK, headers)


async def placement_as_known(db: Database, intent: Intent, *, is_fresh: bool = False) -> Placement:
    """Return an intent as it is shown; what has been sent is told even when the database has gone meanwhile."""
    try:
        return await read_placement(db, intent.user_id, intent.id) if is_fresh else await placement_of(db, intent)
    except TemporarilyUnavailable:
        return shown(intent, [])


async def placement_of(db: Database, intent: Intent) -> Placement:
    """Return an intent as it is shown, with its orders."""
    [placement] = await placements_of(db, [intent])
    return placement


async def placements_of(db: Database, intents: list[Intent]) -> list[Placement]:
    """Return intents of one user as they are shown."""
    async with db.reading() as tx:
        placed = await orderbook.orders_of(tx, [each.id for each in intents])
        named = [each.order_no for each in intents if each.order_no]
        seen = await orderbook.find_seen(tx, intents[0].user_id, named) if named else {}
    return [shown(each, placed.get(each.id) or _about(each, seen)) for each in intents]


def _about(intent: Intent, seen: dict[str, SeenOrder]) -> list[SeenOrder]:
    """Return the order that a modification or a cancel is about."""
    found = seen.get(intent.order_no or "")
    return [found] if found else []


async def read_placement(db: Database, user_id: str, placement_id: UUID) -> Placement:
    """Return what became of one thing that this very user did; raises `NotFound`."""
    async with db.reading() as tx:
        intent = await store.find(tx, user_id, placement_id)
    if intent is None:
        raise NotFound
    return await placement_of(db, intent)


@dataclass(frozen=True)
class Wanted:
    """Which page of a list is asked for, as it was asked."""

    actions: list[Action]
    outcome: Outcome | None
    first: date | None
    last: date | None
    cursor: str | None
    limit: int


async def list_page(db: Database, user_id: str, wanted: Wanted, as_of: datetime) -> PlacementList:
    """Return one page of a user's placements; raises `InvalidRequest` for days or a cursor that can't be."""
    first, last = moments_between(wanted.first, wanted.last)
    page = Page(wanted.actions, wanted.outcome, first, last, wanted.cursor, wanted.limit)
    async with db.reading() as tx:
        intents, cursor = await store.list_placements(tx, user_id, page)
    return PlacementList(placements=await placements_of(db, intents), as_of=as_of, next_cursor=cursor)


def told_cancels(cancels: list[CancelledOrder], placement: Placement) -> tuple[CancelledPlacement, int]:
    """Return what became of a placement's cancels, and 202 while anything is unknown; raises `OrderRefused`."""
    outcomes = {each.outcome for each in cancels}
    if outcomes == {Outcome.REFUSED}:
        reason = "; ".join(dict.fromkeys(each.reason or "" for each in cancels))
        raise OrderRefused(
            f"No order could be cancelled: {reason}", placementId=str(placement.placement_id), reason=reason
        )
    is_unknown = Outcome.UNKNOWN in outcomes or placement.outcome is Outcome.UNKNOWN
    told_placement = CancelledPlacement(**dict(placement), cancellations=cancelled(cancels))
    return told_placement, HTTPStatus.ACCEPTED if is_unknown else HTTPStatus.OK


def cancelled(cancels: list[CancelledOrder]) -> list[Cancelled]:
    """Return what became of each cancel."""
    return [
        Cancelled(order_no=each.order_no, outcome=each.outcome, reason=each.reason, placement_id=each.intent_id)
        for each in cancels
    ]
