"""What forbids an order: an equal request before it, a halt, a block, a cap, an equal order still unknown."""

from app.db import Transaction
from app.orders import acting_store as store
from app.orders.intents import Intent
from app.orders.wishes import Done, Risk, Wish
from app.problems import IdempotencyKeyInUse, IdempotencyKeyReused, PlacementUnresolved
from app.safeguards.caps import Caps, caps_in_force, refuse_over_cap
from app.safeguards.idempotency import Repeatable
from app.settings import Settings


async def find_done_or_judge(tx: Transaction, user_id: str, wish: Wish, settings: Settings) -> Done | None:
    """Return what became of an earlier request with the wish's key; refuse, where there was none, what is forbidden.

    It is read now, never from memory, in the transaction that is to commit the intent and holds the user's chain.
    Raises what `replayed` raises, `TradingHalted`, `UserBlocked`, `CapExceeded`, `PlacementUnresolved`.
    """
    if wish.risk is None:
        return await find_done(tx, user_id, wish.repeatable) if wish.repeatable else None
    key = wish.repeatable.key if wish.repeatable else None
    earlier = await store.find_by_key_or_share_lock(tx, user_id, key)
    if earlier and wish.repeatable:
        return replayed(earlier, wish.repeatable)
    await _judge(tx, user_id, wish.risk, wish.likeness, settings)
    return None


async def find_done(tx: Transaction, user_id: str, repeatable: Repeatable) -> Done | None:
    """Return what became of an earlier request with this key, none if there was none; raises what `replayed` raises."""
    earlier = await store.find_by_key(tx, user_id, repeatable.key)
    return replayed(earlier, repeatable) if earlier else None


def replayed(earlier: Intent, repeatable: Repeatable) -> Done:
    """Return what became of an earlier request with the same key.

    Raises `IdempotencyKeyReused` for another request, `IdempotencyKeyInUse` while the first may still answer.
    """
    if earlier.fingerprint != repeatable.fingerprint:
        raise IdempotencyKeyReused
    if earlier.is_under_way:
        raise IdempotencyKeyInUse(headers={"Retry-After": "1"}, placementId=str(earlier.id))
    return Done(earlier, is_replay=True)


async def _judge(tx: Transaction, user_id: str, risk: Risk, likeness: bytes, settings: Settings) -> None:
    found = await store.what_forbids(tx, user_id, likeness)
    found.restraints.refuse()
    if risk.quantity is not None:
        await _judge_caps(tx, user_id, risk, caps_in_force(found.restraints.own_caps, settings))
    if risk.refuses_twin and found.twin:
        raise PlacementUnresolved(placementId=str(found.twin))


async def _judge_caps(tx: Transaction, user_id: str, risk: Risk, caps: Caps) -> None:
    is_counted = risk.is_new_order and caps.orders_per_day is not None
    orders_today = await store.count_today(tx, user_id) if is_counted else None
    refuse_over_cap(caps, quantity=risk.quantity or 0, value=risk.value, orders_today=orders_today)
