"""Caps on what one order and one day may hold: a user's own where he has them, the settings' for all others."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.problems import CapExceeded
from app.settings import Settings
from app.tables import caps as table


@dataclass(frozen=True)
class Caps:
    """The most that one order may hold, in units and in rupees, and the most orders in a day; none: no cap."""

    order_quantity: int | None = None
    order_value: Decimal | None = None
    orders_per_day: int | None = None


async def caps_of(tx: AsyncConnection, user_id: str, settings: Settings) -> Caps:
    """Return the caps in force for a user."""
    return caps_in_force(await own_caps(tx, user_id) or Caps(), settings)


def caps_in_force(own: Caps, settings: Settings) -> Caps:
    """Return what holds for a user with caps of his `own`; these are read in the intent's transaction, never cached."""
    general = general_caps(settings)
    return Caps(
        order_quantity=general.order_quantity if own.order_quantity is None else own.order_quantity,
        order_value=general.order_value if own.order_value is None else own.order_value,
        orders_per_day=general.orders_per_day if own.orders_per_day is None else own.orders_per_day,
    )


def general_caps(settings: Settings) -> Caps:
    """Return the caps of everybody who has none of his own."""
    return Caps(settings.order_quantity_cap, settings.order_value_cap, settings.orders_per_day_cap)


def refuse_over_cap(caps: Caps, *, quantity: int, value: Decimal | None, orders_today: int | None) -> None:
    """Raise `CapExceeded` with a sentence that names the cap.

    `value` is none for an order without a price, which a cap on value always refuses; `orders_today` counts those
    before this one, none where it is not to be checked.
    """
    if caps.order_quantity is not None and quantity > caps.order_quantity:
        raise CapExceeded(f"The order is for {quantity} units; at most {caps.order_quantity} are allowed in one order.")
    if caps.order_value is not None:
        _refuse_value(value, caps.order_value)
    if caps.orders_per_day is not None and orders_today is not None and orders_today >= caps.orders_per_day:
        raise CapExceeded(f"{orders_today} orders were placed today; at most {caps.orders_per_day} are allowed a day.")


def _refuse_value(value: Decimal | None, cap: Decimal) -> None:
    if value is None:
        raise CapExceeded(
            f"An order may be worth at most {rupees(cap)} rupees, and what one without a price will be worth can't be "
            "known: send it with a limit."
        )
    if value > cap:
        raise CapExceeded(f"The order is worth {rupees(value)} rupees; at most {rupees(cap)} are allowed in one order.")


def rupees(amount: Decimal) -> str:
    """Return an amount in plain digits, without zeros that say nothing."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


async def own_caps(tx: AsyncConnection, user_id: str) -> Caps | None:
    """Return what was set for this very user, none where nothing was."""
    return (await all_own_caps(tx, user_id)).get(user_id)


async def all_own_caps(tx: AsyncConnection, user_id: str | None = None) -> dict[str, Caps]:
    """Return the caps of every user who has his own, or of the one named."""
    wanted = select(table).order_by(table.c.user_id)
    found = await tx.execute(wanted if user_id is None else wanted.where(table.c.user_id == user_id))
    return {row.user_id: Caps(row.order_quantity, row.order_value, row.orders_per_day) for row in found}


async def set_caps(tx: AsyncConnection, user_id: str, caps: Caps) -> None:
    """Put these in the place of whatever was set for the user."""
    await tx.execute(
        upsert(table)
        .values(user_id=user_id, **vars(caps))
        .on_conflict_do_update(index_elements=[table.c.user_id], set_=vars(caps))
    )


async def clear_caps(tx: AsyncConnection, user_id: str) -> bool:
    """Let the settings' caps hold for the user; false where nothing was set for him."""
    done = await tx.execute(delete(table).where(table.c.user_id == user_id))
    return done.rowcount > 0
