"""Personal data on its way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.profile.masking import masked
from app.trading import Profile


def a_profile(**personal: object) -> Profile:
    given: dict[str, object] = {
        "id": "AB1234", "account_id": None, "name": None, "status": None, "exchanges": [], "products": [],
        "email": None, "mobile": None, "pan": None, "depository_accounts": [],
    }  # fmt: skip
    return Profile.model_validate(given | personal)


def test_what_is_absent_stays_absent() -> None:
    profile = masked(a_profile())
    assert (profile.email, profile.mobile, profile.pan, profile.depository_accounts) == (None, None, None, [])


@pytest.mark.parametrize(
    ("email", "shown"),
    [
        ("asha@mail.example", "a******@mail.example"),
        ("no address", "******"),
        ("@mail.example", "******"),
        ("a@b.in", "******@b.in"),
    ],
)
def test_an_address_keeps_its_first_letter_and_its_domain(email: str, shown: str) -> None:
    assert masked(a_profile(email=email)).email == shown


@given(st.text(min_size=1, max_size=30))
def test_of_a_number_at_most_a_third_is_shown(number: str) -> None:
    shown = masked(a_profile(mobile=number, pan=number, depository_accounts=[number]))
    for each in (shown.mobile, shown.pan, *shown.depository_accounts):
        assert each is not None
        assert len(each.removeprefix("******")) <= len(number) / 3
