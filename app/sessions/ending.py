"""Ending sessions: this device, another one, all of them; what this process remembers of the user goes at once."""

from uuid import UUID

from app.broker.permits import Bearer
from app.problems import BrokerSessionExpired, NotFound
from app.safeguards import watches
from app.safeguards.audit import Ledger
from app.sessions import store
from app.sessions.asking import Caller
from app.sessions.hooks import Hooks
from app.sessions.store import Life


async def log_out(caller: Caller) -> None:
    """End the session that calls."""
    facts = {"session": str(caller.session.id)}
    async with caller.db.transaction() as tx:
        await Ledger(caller.ring).write(tx, caller.user_id, "signed-out", actor=caller.user_id, facts=facts)
        await store.end(tx, caller.user_id, caller.session.id, caller.clock.now(), store.LOGGED_OUT)
    caller.remembered.forget(caller.user_id)


async def end_device(caller: Caller, session_id: str, life: Life) -> UUID:
    """End one of the caller's live sessions and return its id.

    Raises `NotFound`, after the same work, for a missing id, for another's and for what is no id at all.
    """
    try:
        wanted = UUID(session_id)
    except ValueError:
        wanted = UUID(int=0)
    async with caller.db.transaction() as tx:
        await Ledger(caller.ring).lock(tx, caller.user_id)
        if not await store.end_live(tx, caller.user_id, wanted, life, store.LOGGED_OUT):
            raise NotFound
        facts = {"session": str(wanted)}
        await Ledger(caller.ring).write(tx, caller.user_id, "device-signed-out", actor=caller.user_id, facts=facts)
    caller.remembered.forget(caller.user_id)
    return wanted


async def log_out_everywhere(caller: Caller, hooks: Hooks) -> None:
    """End every session of the caller's, and forget his broker token unless an order of his is still looked after."""
    bearer = _bearer_of(caller)
    async with caller.db.transaction() as tx:
        ledger, now = Ledger(caller.ring), caller.clock.now()
        await ledger.lock(tx, caller.user_id)
        count = await store.end_all(tx, caller.user_id, now, store.LOGGED_OUT)
        is_needed = await watches.is_watched(tx, caller.user_id)
        broker = await store.find_broker_session(tx, caller.user_id)  # as it is now: he may just have signed in anew
        if broker and not is_needed:
            await store.disconnect(tx, broker.id, now, store.LOGGED_OUT)
        facts = {"sessions": count}
        await ledger.write(tx, caller.user_id, "signed-out-everywhere", actor=caller.user_id, facts=facts)
    caller.remembered.forget(caller.user_id)
    if bearer:
        await hooks.logged_out(bearer)  # the broker knows the token still; nobody else does


def _bearer_of(caller: Caller) -> Bearer | None:
    try:
        return caller.bearer()
    except BrokerSessionExpired:
        return None
