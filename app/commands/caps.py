"""`partner caps`: the most that one user's order and day may hold, where it is not what the settings say."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from app.commands.opening import CannotDo, Desk, run
from app.commands.options import Actor, OneUser, Reason, User
from app.commands.speaking import AsJson, say
from app.safeguards.audit import Fact
from app.safeguards.caps import Caps, all_own_caps, caps_of, clear_caps, general_caps, own_caps, rupees, set_caps
from app.safeguards.halts import has_signed_in

caps = typer.Typer(no_args_is_help=True, help="Caps of single users; those of everybody else are settings.")

_MOST_UNITS, _MOST_ORDERS = 10**9, 10**6  # more than any exchange takes, less than the columns hold
_MOST_RUPEES, _PLACES = Decimal(10**16), 4  # numeric(20, 4)


def _amount(given: str) -> Decimal:
    try:
        amount = Decimal(given)
    except InvalidOperation as error:
        raise typer.BadParameter("is no amount of rupees") from error
    if not (amount.is_finite() and 0 < amount < _MOST_RUPEES and amount == round(amount, _PLACES)):
        raise typer.BadParameter(f"wants rupees, more than none, with at most {_PLACES} decimal places")
    return amount


Quantity = Annotated[int | None, typer.Option(min=1, max=_MOST_UNITS, help="The most units in one order.")]
Value = Annotated[Decimal | None, typer.Option(parser=_amount, metavar="RUPEES", help="The most that one is worth.")]
OrdersPerDay = Annotated[int | None, typer.Option(min=1, max=_MOST_ORDERS, help="The most orders in a trading day.")]


@caps.command("set")
def set_for_user(
    *,
    user: User,
    quantity: Quantity = None,
    value: Value = None,
    orders_per_day: OrdersPerDay = None,
    reason: Reason,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Set caps of one user, in force with his next order; what is not named stays as it was."""
    if quantity is None and value is None and orders_per_day is None:
        raise typer.BadParameter("Say which: --quantity, --value or --orders-per-day.")

    async def change(desk: Desk) -> tuple[Caps, bool]:
        async with desk.db.transaction() as tx:
            await desk.ledger.lock(tx, user)
            was = await own_caps(tx, user) or Caps()
            now = Caps(quantity or was.order_quantity, value or was.order_value, orders_per_day or was.orders_per_day)
            await set_caps(tx, user, now)
            await desk.ledger.write(tx, user, "caps-set", actor=actor, facts=_facts(now) | {"reason": reason})
            return now, await has_signed_in(tx, user)

    own, is_known = run(change)
    stranger = "" if is_known else f" Mind that {user} has never signed in here."
    say(f"{user} may now place {_told(own)}.{stranger}", {"user": user} | _facts(own), as_json=as_json)


@caps.command()
def clear(*, user: User, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Forget the caps of one user; those of the settings hold for him."""

    async def change(desk: Desk) -> Caps:
        async with desk.db.transaction() as tx:
            await desk.ledger.lock(tx, user)
            if not await clear_caps(tx, user):
                raise CannotDo(f"{user} has no caps of his own.")
            await desk.ledger.write(tx, user, "caps-cleared", actor=actor, facts={"reason": reason})
            return await caps_of(tx, user, desk.settings)

    left = run(change)
    say(f"{user} may now place {_told(left)}, as everybody.", {"user": user} | _facts(left), as_json=as_json)


@caps.command()
def show(*, user: OneUser = None, as_json: AsJson = False) -> None:
    """Tell the caps in force: of one user, or those of the settings and of every user who has his own."""

    async def look(desk: Desk) -> dict[str | None, Caps]:
        async with desk.db.reading() as tx:
            if user:
                return {user: await caps_of(tx, user, desk.settings)}
            own = {each: await caps_of(tx, each, desk.settings) for each in await all_own_caps(tx)}
        return {None: general_caps(desk.settings)} | own

    found = run(look)
    everybody = "Everybody else" if len(found) > 1 else "Everybody"
    sentences = [f"{who or everybody} may place {_told(each)}." for who, each in found.items()]
    facts = [{"user": who, **_facts(each)} for who, each in found.items()]
    say("\n".join(sentences), {"caps": facts}, as_json=as_json)


def _facts(each: Caps) -> dict[str, Fact]:
    value = None if each.order_value is None else rupees(each.order_value)
    return {"quantity": each.order_quantity, "value": value, "ordersPerDay": each.orders_per_day}


def _told(each: Caps) -> str:
    """Return caps as the end of a sentence that begins with "may place"."""
    day = "any number of orders a day" if each.orders_per_day is None else f"{each.orders_per_day} orders a day"
    limits = [
        f"{each.order_quantity} units" if each.order_quantity is not None else "",
        f"{rupees(each.order_value)} rupees" if each.order_value is not None else "",
    ]
    told = " and ".join(limit for limit in limits if limit)
    return f"{day}, each of at most {told}" if told else f"{day} of any size"
