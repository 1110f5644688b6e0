"""The statements around one call to the broker: what forbids it, the intent before it, what became of it after it.

Each is built once and run with parameters: building it anew costs as much as running it, and an order has nine of them.
Every moment is the store's own clock. The caller holds the user's chain of the ledger, so that one at a time decides.
"""

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Column,
    Interval,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.ext.asyncio import AsyncConnection

from app.clock import random_bytes
from app.orders.intents import SENDING, Action, Beginning, Intent, ResolvedBy
from app.orders.store import COLUMNS, TODAY, intent_of
from app.safeguards.halts import share_of_lock
from app.safeguards.restraints import Restraints, restraints_for, restraints_of
from app.safeguards.watches import watching
from app.tables import intents, users
from app.trading import Outcome

_i = intents.c


def _given(column: Column[Any]) -> BindParameter[Any]:
    return bindparam(f"given_{column.name}", type_=column.type)


_user = bindparam("of_user", type_=Text)
_has_key = and_(_i.user_id == _user, _i.idempotency_key == bindparam("key", type_=Text))
_BY_KEY = select(*COLUMNS).where(_has_key)
_one = select(literal(1).label("one")).subquery("one")
_BY_KEY_OR_SHARE = select(*COLUMNS, case((_i.id.is_(None), share_of_lock())).label("share")).select_from(
    _one.outerjoin(intents, _has_key)
)


async def find_by_key(tx: AsyncConnection, user_id: str, key: str) -> Intent | None:
    """Return what an earlier request with this key began."""
    row = (await tx.execute(_BY_KEY, {"of_user": user_id, "key": key})).one_or_none()
    return intent_of(row) if row else None


async def find_by_key_or_share_lock(tx: AsyncConnection, user_id: str, key: str | None) -> Intent | None:
    """Return what an earlier request with this key began; where there is none, share the lock of decisions and halts.

    What halts is read in another statement, after this one: see `share_of_lock`.
    """
    row = (await tx.execute(_BY_KEY_OR_SHARE, {"of_user": user_id, "key": key})).one()
    return intent_of(row) if row.id else None


_is_open = or_(_i.state == Outcome.UNKNOWN, and_(_i.state == SENDING, _i.send_by <= func.clock_timestamp()))
_is_indexed = text("intents.state IN ('sending', 'unknown')")  # in words, so that any plan may use `intents_open_idx`
_twin = (
    select(_i.id)
    .where(_i.user_id == _user, _i.action == Action.PLACE, _i.likeness == _given(_i.likeness), _is_open, _is_indexed)
    .limit(1)
    .scalar_subquery()
)
_WHAT_FORBIDS = restraints_for(_user).add_columns(_twin.label("twin"))


@dataclass(frozen=True)
class Forbidding:
    """What may forbid new risk: his restraints, and an equal order that is unknown or was not answered in time."""

    restraints: Restraints
    twin: UUID | None


async def what_forbids(tx: AsyncConnection, user_id: str, likeness: bytes) -> Forbidding:
    """Return it as it stands now; call it when the lock of decisions is shared."""
    row = (await tx.execute(_WHAT_FORBIDS, {"of_user": user_id, "given_likeness": likeness})).one()
    return Forbidding(restraints_of(row), row.twin)


_COUNT_TODAY = select(func.count()).where(_i.user_id == _user, _i.trading_day == TODAY, _i.action == Action.PLACE)


async def count_today(tx: AsyncConnection, user_id: str) -> int:
    """Return how many orders the user has placed on this trading day, whatever became of them."""
    return int(await tx.scalar(_COUNT_TODAY, {"of_user": user_id}) or 0)


# Once as an intent is written, and once more with its outcome, every replica is told that what the broker said of him
# before may be so no more; each session look-up reads it. A book read in between may be of before or after.
_NEWER = {"book_epoch": users.c.book_epoch + 1, "ordered_at": func.clock_timestamp()}

# Each part of these statements takes its rows from the one before, so that rows are locked in that order: the user's,
# the intent's, the watch's.
_raised_before = update(users).where(users.c.id == _user).values(_NEWER).returning(users.c.id).cte("raised")
_send_by = func.clock_timestamp() + bindparam("send_window", type_=Interval)  # it may have waited for others of his
_values = {
    **{each.name: _given(each) for each in (
        _i.id, _i.action, _i.idempotency_key, _i.fingerprint, _i.terms, _i.likeness, _i.order_no, _i.correlation,
    )},
    "user_id": _raised_before.c.id,
    "trading_day": TODAY,
    "created_at": func.now(),
    "send_by": _send_by,
    "doubtful_at": _send_by + bindparam("patience", type_=Interval),
    "state": literal(SENDING),
    "is_watched": true(),
}  # fmt: skip
_begun = (
    insert(intents)
    .from_select(list(_values), select(*_values.values()).select_from(_raised_before))
    .returning(*COLUMNS)
    .cte("begun")
)
_BEGIN = select(_begun)
_BEGIN_WATCHED = select(_begun).add_cte(watching(_begun))


async def begin(tx: AsyncConnection, beginning: Beginning) -> Intent:
    """Write down an intent; its sender may let bytes go until `send_by`. What was read before is not shown again.

    One that is news quickens the looks at the book, and has one planned for when it gets doubtful.
    """
    given = {
        "of_user": beginning.user_id,
        "given_id": UUID(bytes=random_bytes(16), version=4),
        "given_action": beginning.action,
        "given_idempotency_key": beginning.repeatable.key if beginning.repeatable else None,
        "given_fingerprint": beginning.repeatable.fingerprint if beginning.repeatable else None,
        "given_terms": dict(beginning.terms),
        "given_likeness": beginning.likeness,
        "given_order_no": beginning.order_no,
        "given_correlation": _new_correlation() if beginning.action is Action.PLACE else None,
        "send_window": beginning.send_window,
        "patience": beginning.patience,
    }
    row = await tx.execute(_BEGIN_WATCHED if beginning.is_news else _BEGIN, given)
    return intent_of(row.one())


_by = bindparam("by", type_=Text)
_settled = (
    update(intents)
    .where(_i.id == _given(_i.id), _i.state == func.any(bindparam("from_states", type_=ARRAY(Text))))
    .values(
        state=_given(_i.state),
        reason=_given(_i.reason),
        resolved_at=case((_by.is_not(None), func.now())),
        resolved_by=_by,
        is_watched=_given(_i.is_watched),
        candidates=cast(array([]), ARRAY(Text)),
        absent_since=null(),
    )
    .returning(*COLUMNS)
    .cte("settled")
)
_raised_after = update(users).where(users.c.id == _settled.c.user_id).values(_NEWER).cte("raised")
_SETTLE = select(_settled).add_cte(_raised_after)
_MAY_BECOME = {
    Outcome.UNKNOWN: [SENDING],
    Outcome.REFUSED: [SENDING, Outcome.UNKNOWN],
    Outcome.ACCEPTED: [SENDING, Outcome.UNKNOWN, Outcome.REFUSED],
}


async def settle(
    tx: AsyncConnection,
    intent_id: UUID,
    outcome: Outcome,
    reason: str | None,
    by: ResolvedBy,
    *,
    is_watched: bool,
) -> Intent | None:
    """Write down what became of an intent, unless something better is known already; none if it is.

    Unknown never overwrites what is known, a refusal never what was accepted; an acceptance overrides everything.
    """
    given = {
        "given_id": intent_id,
        "from_states": _MAY_BECOME[outcome],
        "given_state": outcome,
        "given_reason": reason,
        "by": None if outcome is Outcome.UNKNOWN else by,
        "given_is_watched": is_watched,
    }
    row = (await tx.execute(_SETTLE, given)).one_or_none()
    return intent_of(row) if row else None


def _new_correlation() -> str:
    """Return eighty random bits that nobody else writes into an order's remarks: seventeen letters and digits."""
    return "P" + base64.b32encode(random_bytes(10)).decode()
