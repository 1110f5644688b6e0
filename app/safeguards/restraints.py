"""What keeps a user from new risk: halts, a block and his own caps, read together in one statement, never cached.

It is read behind the shared lock of decisions (app/safeguards/halts.py), in the transaction that commits what must not
be done: what forbids it then comes before the decision, or waits for it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select

from app.problems import TradingHalted, UserBlocked
from app.safeguards.blocks import is_blocked
from app.safeguards.caps import Caps
from app.safeguards.halts import reason_of_halt
from app.tables import caps


@dataclass(frozen=True)
class Restraints:
    """Why everything of his is halted, none where nothing is; whether he is blocked; the caps that are his own."""

    halt_reason: str | None
    is_blocked: bool
    own_caps: Caps

    def refuse(self) -> None:
        """Raise `TradingHalted` with the reason given, or `UserBlocked`."""
        if self.halt_reason is not None:
            raise TradingHalted(self.halt_reason)
        if self.is_blocked:
            raise UserBlocked


def restraints_for(user_id: ColumnElement[str]) -> Select[Any]:
    """Return the statement that reads one user's, one row always; the caller may add columns."""
    he = select(user_id.label("id")).subquery("he")
    return select(
        reason_of_halt(he.c.id).label("halt_reason"),
        is_blocked(he.c.id).label("is_blocked"),
        caps.c.order_quantity,
        caps.c.order_value,
        caps.c.orders_per_day,
    ).select_from(he.outerjoin(caps, caps.c.user_id == he.c.id))


def restraints_of(row: Row[Any]) -> Restraints:
    """Return what a row of that statement says."""
    own = Caps(row.order_quantity, row.order_value, row.orders_per_day)
    return Restraints(row.halt_reason, row.is_blocked, own)
