"""Caps: whose hold for whom, and the sentence for what is over one."""

from decimal import Decimal

import pytest

from app.db import Database
from app.problems import CapExceeded
from app.safeguards.caps import Caps, all_own_caps, caps_of, clear_caps, own_caps, refuse_over_cap, rupees, set_caps
from tests.support.configured import configured
from tests.support.ledgers import USER

NO_CAPS = configured("postgresql:///x", "http://127.0.0.1:1/")
GENERAL = configured(
    "postgresql:///x", "http://127.0.0.1:1/", order_quantity_cap=100, order_value_cap="50000", orders_per_day_cap=10
)

WITHOUT_PRICE = (
    "An order may be worth at most 50000 rupees, and what one without a price will be worth can't be known: "
    "send it with a limit."
)


async def test_without_any_cap_everything_passes(db: Database) -> None:
    async with db.reading() as tx:
        found = await caps_of(tx, USER, NO_CAPS)
    assert found == Caps(None, None, None)
    refuse_over_cap(found, quantity=10**9, value=None, orders_today=10**6)


async def test_a_users_own_cap_goes_before_the_settings_and_the_others_stay(db: Database) -> None:
    async with db.transaction() as tx:
        await set_caps(tx, USER, Caps(order_value=Decimal("75000.50")))
        await set_caps(tx, "CD5678", Caps(order_quantity=1))
    async with db.reading() as tx:
        assert await caps_of(tx, USER, GENERAL) == Caps(100, Decimal("75000.50"), 10)
        assert await caps_of(tx, "CD5678", GENERAL) == Caps(1, Decimal(50000), 10)
        assert await caps_of(tx, "EF9012", GENERAL) == Caps(100, Decimal(50000), 10)
        assert await own_caps(tx, "EF9012") is None
        assert list(await all_own_caps(tx)) == [USER, "CD5678"]


async def test_caps_set_again_take_the_place_of_those_before_and_can_be_cleared(db: Database) -> None:
    async with db.transaction() as tx:
        await set_caps(tx, USER, Caps(5, Decimal(5), 5))
        await set_caps(tx, USER, Caps(7))
        assert await own_caps(tx, USER) == Caps(7)
        assert await clear_caps(tx, USER)
        assert not await clear_caps(tx, USER)
        assert await caps_of(tx, USER, GENERAL) == Caps(100, Decimal(50000), 10)


@pytest.mark.parametrize(
    ("quantity", "value", "orders_today"),
    [(100, Decimal(50000), 9), (1, Decimal("0.05"), 0), (100, Decimal("50000.0000"), None)],
)
def test_what_just_fits_passes(quantity: int, value: Decimal, orders_today: int | None) -> None:
    refuse_over_cap(Caps(100, Decimal(50000), 10), quantity=quantity, value=value, orders_today=orders_today)


@pytest.mark.parametrize(
    ("quantity", "value", "orders_today", "said"),
    [
        (101, Decimal(1), 0, "The order is for 101 units; at most 100 are allowed in one order."),
        (1, Decimal("50000.05"), 0, "The order is worth 50000.05 rupees; at most 50000 are allowed in one order."),
        (1, Decimal(1), 10, "10 orders were placed today; at most 10 are allowed a day."),
        (1, None, 0, WITHOUT_PRICE),
    ],
)
def test_what_is_over_a_cap_is_refused_in_a_sentence(
    quantity: int, value: Decimal | None, orders_today: int, said: str
) -> None:
    with pytest.raises(CapExceeded) as refused:
        refuse_over_cap(Caps(100, Decimal("50000.0000"), 10), quantity=quantity, value=value, orders_today=orders_today)
    assert refused.value.detail == said


@pytest.mark.parametrize(
    ("amount", "shown"), [("1E+5", "100000"), ("5000.0000", "5000"), ("0.0500", "0.05"), ("100", "100")]
)
def test_rupees_are_shown_in_plain_digits(amount: str, shown: str) -> None:
    assert rupees(Decimal(amount)) == shown
