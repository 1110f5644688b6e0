"""Cancels what a user wanted cancelled before anybody knew that it was there."""

from datetime import timedelta

from app.broker.verdicts import NOT_SENT
from app.orderbook import store as orderbook
from app.orders import store
from app.orders.acting import Actor
from app.orders.changing import cancel_each
from app.orders.intents import Intent
from app.problems import BrokerRateLimited, BrokerSessionExpired, RateLimited
from app.sessions.asking import Investor
from app.trading import Outcome

_MOST_TRIES = 3
_WORKS_FOR = timedelta(seconds=30)
"""Then the cancel was perhaps lost, whatever was answered; cancelling twice is cancelling."""
_LATER = frozenset({NOT_SENT, RateLimited.slug, BrokerRateLimited.slug, BrokerSessionExpired.slug})


async def cancel_what_turned_up(actor: Actor, investor: Investor, intents: list[Intent]) -> None:
    """Cancel each open order of the placements that were to be cancelled, unless its cancel is under way or done."""
    wanted = {each.id: each for each in intents if each.cancel_wanted_at}
    if not wanted:
        return
    async with investor.db.reading() as tx:
        found = await orderbook.orders_of(tx, wanted)
        numbers = [order.order_no for orders in found.values() for order in orders if not order.is_final]
        since = min(each.created_at for each in wanted.values())
        begun = await store.cancels_of(tx, investor.user_id, numbers, since)
    left = [number for number in numbers if _is_worth_trying(begun.get(number, []))]
    await cancel_each(actor, investor, left, is_wanted_earlier=True)


def _is_worth_trying(before: list[Intent]) -> bool:
    """Say whether to send another cancel: not while one works, and not for ever where the broker keeps refusing."""
    is_working = any(_may_work_yet(each) for each in before)
    return not is_working and sum(_is_final_word(each) for each in before) < _MOST_TRIES


def _may_work_yet(cancel: Intent) -> bool:
    return cancel.outcome is not Outcome.REFUSED and cancel.now - cancel.created_at < _WORKS_FOR


def _is_final_word(cancel: Intent) -> bool:
    """Say whether the broker refused this very cancel; a limit or a lost connection refuses nothing for good."""
    return cancel.outcome is Outcome.REFUSED and cancel.reason not in _LATER
