"""Cancels what a user wanted cancelled before anybody knew that it was there."""

from app.orderbook import store as orderbook
from app.orders import store
from app.orders.acting import Actor
from app.orders.changing import cancel_each
from app.orders.intents import Intent
from app.sessions.asking import Investor


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
    await cancel_each(actor, investor, [number for number in numbers if number not in begun])
