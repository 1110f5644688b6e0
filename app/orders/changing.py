"""Modifying and cancelling what is at the broker already; nothing goes out before it is known whose order it is."""

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import get_args
from uuid import UUID

from pydantic import ValidationError

from app.broker.permits import Clearance
from app.broker.verdicts import NOT_SENT, Verdict, refused
from app.broker.wire import BookRow
from app.clock import monotonic, trading_day
from app.limits import Urgency
from app.orderbook import store as orderbook
from app.orderbook.reading import find_row, read_book
from app.orderbook.store import SeenOrder
from app.ordering import Exchange, OrderChange, OrderTerms, canonical, price_refusals
from app.orders import store
from app.orders.acting import Actor
from app.orders.intents import BEFORE, Action, Intent, likeness
from app.orders.refusing import allowance_refusals, refuse
from app.orders.wishes import Done, Risk, Wish
from app.problems import InvalidRequest, NotFound, Problem, RateLimited, TemporarilyUnavailable
from app.safeguards.idempotency import repeatable
from app.sessions.asking import Caller, Investor
from app.settings import Settings
from app.trading import OrderStatus, Outcome, TransactionType

_EXCHANGES: tuple[str, ...] = get_args(Exchange)
_LOOK_UP_PATIENCE = 1.5  # seconds; the outcome has to be written before the sender is given up
_MOST_AT_ONCE = 5  # cancels on their way together; the broker takes ten a second
_LONGEST_TURN = 2.0  # seconds; longer than this is no second's limit
_TURN_PATIENCE = 15.0  # seconds for all of them, so that whoever wants out is not told to ask a hundred times


async def modify_order(
    actor: Actor, caller: Caller, settings: Settings, order_no: str, change: OrderChange, key: str
) -> Done:
    """Give an open order another state.

    The broker wants the whole of it, so the order is read afresh and what is not named stays as it is there. Raises
    `NotFound` for an order that is not the caller's, `InvalidRequest`, and what reading and `Actor.do` raise.
    """
    request = repeatable(key, "PATCH", f"/v1/orders/{order_no}", _named(change))
    if earlier := await actor.replay(caller, request):
        return earlier
    row = await find_row(caller, order_no)
    present = _terms_of(row)
    wanted = change.applied_to(present)
    refuse(price_refusals(wanted))
    if (wanted.order_type, wanted.quantity) != (present.order_type, present.quantity):
        refuse(allowance_refusals(wanted, caller, settings))

    async def send(clearance: Clearance, _correlation: str | None) -> Verdict:
        return await caller.gateway.modify(clearance, order_no, wanted)

    wish = Wish(
        action=Action.MODIFY,
        terms=wanted.model_dump(mode="json") | {BEFORE: present.model_dump(mode="json")},
        send=send,
        likeness=likeness(canonical(wanted)),
        risk=Risk(wanted.quantity, wanted.value) if _asks_for_more(present, wanted) else None,
        repeatable=request,
        order_no=order_no,
        exchanges=(wanted.exchange,),
    )
    return await actor.do(caller, wish)


async def cancel_order(
    actor: Actor, investor: Investor, order_no: str, key: str | None = None, *, is_wanted_earlier: bool = False
) -> Done:
    """Cancel one order of the investor's own; safe to repeat, and sends nothing where the order is known to be final.

    Raises `NotFound` for an order that is not his, and what reading and `Actor.do` raise.
    """
    request = repeatable(key, "DELETE", f"/v1/orders/{order_no}", {}) if key else None
    if request and (earlier := await actor.replay(investor, request)):
        return earlier
    urgent = replace(investor, urgency=Urgency.URGENT)
    seen = await _own(urgent, order_no)

    async def send(clearance: Clearance, _correlation: str | None) -> Verdict:
        verdict = await investor.gateway.cancel(clearance, order_no)
        return await _looked_up(urgent, order_no, verdict)

    wish = Wish(
        action=Action.CANCEL,
        terms={"orderNo": order_no},
        send=send,
        likeness=likeness({}),
        repeatable=request,
        order_no=order_no,
        exchanges=(seen.exchange,) if seen.exchange in _EXCHANGES else _EXCHANGES,
        known=_of_final(seen.status) if seen.status and seen.status.is_final else None,
        is_news=not is_wanted_earlier,
    )
    return await actor.do(urgent, wish)


@dataclass(frozen=True)
class CancelledOrder:
    """What became of the cancel of one order; without an intent nothing was sent."""

    order_no: str
    outcome: Outcome
    reason: str | None
    intent_id: UUID | None


async def cancel_all(actor: Actor, investor: Investor) -> list[CancelledOrder]:
    """Cancel every open order of the investor's, as his book shows them now."""
    book = await read_book(replace(investor, urgency=Urgency.URGENT))
    numbers = [row.order.order_no for row in book.answer if row.order.order_no and not row.order.status.is_final]
    return await cancel_each(actor, investor, numbers)


async def cancel_each(
    actor: Actor, investor: Investor, order_nos: list[str], *, is_wanted_earlier: bool = False
) -> list[CancelledOrder]:
    """Cancel these orders, a few at a time; no problem of one keeps another from being cancelled."""
    gate = asyncio.Semaphore(_MOST_AT_ONCE)
    give_up_at = monotonic() + _TURN_PATIENCE

    async def cancel(order_no: str) -> CancelledOrder:
        async with gate:
            try:
                done = await _cancel_in_turn(actor, investor, order_no, give_up_at, is_wanted_earlier=is_wanted_earlier)
            except Problem as problem:
                return CancelledOrder(order_no, Outcome.REFUSED, problem.detail or problem.slug, None)
        return CancelledOrder(order_no, done.intent.outcome, done.intent.reason, done.intent.id)

    return list(await asyncio.gather(*(cancel(number) for number in order_nos)))


async def _cancel_in_turn(
    actor: Actor, investor: Investor, order_no: str, give_up_at: float, *, is_wanted_earlier: bool
) -> Done:
    """Cancel one of many, and wait where the limit of a second is all that stands in its way."""
    while True:
        try:
            return await cancel_order(actor, investor, order_no, is_wanted_earlier=is_wanted_earlier)
        except (RateLimited, TemporarilyUnavailable) as problem:
            if problem.wait is None or problem.wait > _LONGEST_TURN or monotonic() + problem.wait > give_up_at:
                raise
            await asyncio.sleep(problem.wait)


async def cancel_placement(actor: Actor, investor: Investor, placement_id: UUID) -> tuple[Intent, list[CancelledOrder]]:
    """Cancel every order of a placement, and have cancelled whatever of it still turns up; raises `NotFound`."""
    async with investor.db.transaction() as tx:
        intent = await store.find(tx, investor.user_id, placement_id)
        if intent is None or intent.action is not Action.PLACE:
            raise NotFound
        if intent.outcome is Outcome.UNKNOWN or intent.is_watched:  # more of it may turn up
            await actor.want_cancelled(tx, intent)
        orders = (await orderbook.orders_of(tx, [placement_id])).get(placement_id, [])
    return intent, await cancel_each(actor, investor, [each.order_no for each in orders])


async def _own(investor: Investor, order_no: str) -> SeenOrder:
    """Return the investor's own order, from what has been seen; an unseen one costs a read of the book."""
    async with investor.db.reading() as tx:
        seen = (await orderbook.find_seen(tx, investor.user_id, [order_no])).get(order_no)
    if seen:
        return seen
    row = await find_row(investor, order_no)
    return SeenOrder(
        order_no, None, row.order.exchange, row.order.quantity, row.order.status, None, None, None,
        first_seen_at=investor.clock.now(), trading_day=trading_day(investor.clock.now()), shown=None,
    )  # fmt: skip


async def _looked_up(investor: Investor, order_no: str, verdict: Verdict) -> Verdict:
    """Turn a refusal into what the book says: an order that is cancelled already has been cancelled."""
    if verdict.outcome is not Outcome.REFUSED or verdict.is_watched or verdict.reason == NOT_SENT:
        return verdict
    try:
        async with asyncio.timeout(_LOOK_UP_PATIENCE):
            row = await find_row(investor, order_no)
    except (Problem, TimeoutError):  # the broker's own words are the best that is known
        return verdict
    return Verdict(Outcome.ACCEPTED) if row.order.status is OrderStatus.CANCELLED else verdict


def _of_final(status: OrderStatus) -> Verdict:
    """Return what a cancel of a final order comes to; final is final, so nothing need be sent."""
    return Verdict(Outcome.ACCEPTED) if status is OrderStatus.CANCELLED else refused(f"The order is {status} already.")


def _named(change: OrderChange) -> dict[str, object]:
    """Return what a change names, and nothing of what it leaves out."""
    named = canonical(change)
    return {name: named[name] for name in sorted(change.model_fields_set)}


def _terms_of(row: BookRow) -> OrderTerms:
    """Return what an order in the book says; raises `InvalidRequest` for one that only the broker's own pages place."""
    order = row.order
    try:
        return OrderTerms.model_validate(
            {
                **order.model_dump(include=set(OrderTerms.model_fields)),
                "disclosed_quantity": row.disclosed_quantity,
                "variety": order.variety or "REGULAR",
            }
        )
    except ValidationError as error:
        detail = "is of a kind that can't be modified here"
        raise InvalidRequest(errors=[{"pointer": "/path/orderNo", "detail": detail}]) from error


def _asks_for_more(present: OrderTerms, wanted: OrderTerms) -> bool:
    """Say whether a change asks for more than what stands: more units, a higher price, or to be filled sooner."""
    if wanted.quantity > present.quantity or wanted.order_type != present.order_type:
        return True
    fires_sooner = wanted.transaction_type is TransactionType.BUY and _is_above(
        present.trigger_price, wanted.trigger_price
    )
    is_sold_lower = wanted.transaction_type is TransactionType.SELL and _is_above(present.price, wanted.price)
    prices = ((wanted.price, present.price), (wanted.trigger_price, present.trigger_price))
    return fires_sooner or is_sold_lower or any(_is_above(after, before) for after, before in prices)


def _is_above(one: Decimal | None, other: Decimal | None) -> bool:
    return one is not None and (other is None or one > other)
