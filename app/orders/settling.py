"""What nobody and nothing could find out, settled by a person who asked the broker."""

from uuid import UUID

from app.broker.verdicts import is_order_no
from app.db import Database, Transaction
from app.orderbook import store as orderbook
from app.orders import acting_store, store
from app.orders.intents import Action, Intent, ResolvedBy, Unknowns
from app.safeguards import watches
from app.safeguards.audit import Ledger
from app.trading import Outcome


class CannotSettle(Exception):
    """Why an intent can't be settled like this, in one sentence."""


async def list_unresolved(db: Database) -> list[Intent]:
    """Return everything of everybody that is unknown, oldest first."""
    async with db.reading() as tx:
        return await store.list_unresolved(tx)


async def count_unresolved(tx: Transaction) -> list[Unknowns]:
    """Return how much is unknown, over all users."""
    return await store.count_unresolved(tx)


async def settle_by_hand(
    db: Database,
    ledger: Ledger,
    intent_id: UUID,
    outcome: Outcome,
    *,
    order_nos: list[str],
    reason: str,
    actor: str,
) -> Intent:
    """Settle an unknown intent as accepted, with its orders where they are known, or as refused; nothing is sent.

    A later sighting in the book still overrides a refusal. Raises `CannotSettle`.
    """
    async with db.transaction() as tx:
        intent = await store.find_any(tx, intent_id)
        if intent is None:
            raise CannotSettle(f"There is no placement {intent_id}.")
        await ledger.lock(tx, intent.user_id)
        intent = await store.find_any(tx, intent_id) or intent  # as it is now that nobody else can change it
        await _refuse_impossible(tx, intent, outcome, order_nos)
        settled = await acting_store.settle(
            tx, intent_id, outcome, reason, ResolvedBy.OPERATOR, is_watched=intent.action is Action.PLACE
        )
        if settled is None:
            raise CannotSettle(f"Placement {intent_id} has been resolved meanwhile.")
        await orderbook.attach(tx, intent.user_id, intent.trading_day, order_nos, intent_id)
        named = " ".join(order_nos) or None
        facts = {"intent": str(intent_id), "outcome": outcome, "orderNos": named, "reason": reason}
        await ledger.write(tx, intent.user_id, "resolved-by-hand", actor=actor, facts=facts)
        await watches.look_soon(tx, intent.user_id, watches.AT_ONCE, is_urgent=True)
    return settled


async def _refuse_impossible(tx: Transaction, intent: Intent, outcome: Outcome, order_nos: list[str]) -> None:
    if intent.is_under_way:
        raise CannotSettle(f"Placement {intent.id} is still being sent; wait a moment.")
    if intent.outcome is not Outcome.UNKNOWN:
        raise CannotSettle(f"Placement {intent.id} is {intent.outcome} already.")
    if order_nos and (outcome is Outcome.REFUSED or intent.action is not Action.PLACE):
        raise CannotSettle("Order numbers belong to an order that was placed and accepted.")
    if strange := [number for number in order_nos if not is_order_no(number)]:
        raise CannotSettle(f"{strange[0]!r} is no order number.")
    taken = await orderbook.find_seen(tx, intent.user_id, order_nos)
    if others := [number for number, seen in taken.items() if seen.intent_id not in {None, intent.id}]:
        raise CannotSettle(f"{', '.join(others)} came from another placement.")
