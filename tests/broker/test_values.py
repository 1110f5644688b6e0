"""Numbers, texts and times as the broker writes them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker import values
from app.broker.values import decimal, moment, text, whole

anything = st.none() | st.booleans() | st.integers() | st.text() | st.decimals() | st.floats() | st.lists(st.integers())


@pytest.mark.parametrize(
    "written", [None, "", " ", "NaN", "nan", "null", "-", "--", "abc", "1,5", True, [], "١٢", "1_000", "1e99", 10**20]
)
def test_what_is_no_number_is_none_and_never_zero(written: object) -> None:
    assert decimal(written) is None
    assert whole(written) is None


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("14.10", "14.10"),
        (Decimal("-304.0"), "-304.0"),
        (3, "3"),
        ("-236.09999", "-236.09999"),
        ("1E+3", "1E+3"),
        ("-0.0", "0.0"),
        (Decimal("0.30000000000000004"), "0.30000000000000004"),
    ],
)
def test_a_number_keeps_the_digits_it_was_written_with(written: object, number: str) -> None:
    found = decimal(written)
    assert found == Decimal(number)
    assert format(found, "f") == format(Decimal(number), "f")


@pytest.mark.parametrize(("written", "quantity"), [("30", 30), ("-2", -2), ("2.0", 2), (7, 7), ("2.5", None)])
def test_a_quantity_is_whole_or_none(written: object, quantity: int | None) -> None:
    assert whole(written) == quantity


@pytest.mark.parametrize(
    "written", ["13:14:55 15-11-2023", "15-11-2023 13:14:55", "15-Nov-2023 13:14:55", "2023-11-15 13:14:55"]
)
def test_every_form_of_indian_time_is_the_same_moment(written: str) -> None:
    assert moment(written) == datetime(2023, 11, 15, 7, 44, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [None, "", "yesterday", "32-13-2023 25:61:61", "13:14 15-11-2023", 1668512345,
     "00:00:00 01-01-0001", "0001-01-01 00:00:00", "0000-00-00 00:00:00", "2023-11-15T07:27:31Z",
     "2023-11-15T07:27:31+05:30"],
)  # fmt: skip
def test_an_unreadable_time_is_none(written: object) -> None:
    assert moment(written) is None


def test_a_text_loses_what_could_break_a_log_a_page_or_the_database() -> None:
    assert text(" RED:\x00line\nbreak\ud800 ") == "RED: line break"
    assert len(text("x" * 10_000) or "") == 500


@given(anything)
def test_no_value_of_the_broker_crashes_a_reader(value: object) -> None:
    for reader in (decimal, whole, moment, text):
        reader(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**14), max_value=10**14, places=4))
def test_a_decimal_survives_the_way_in(number: Decimal) -> None:
    assert decimal(format(number, "f")) == number


def test_what_is_remembered_of_words_and_numbers_is_short() -> None:
    """A broker gone mad must not fill the memory with what stands around a number."""
    values._number.cache_clear()  # noqa: SLF001  # to see inside
    values._familiar.cache_clear()  # noqa: SLF001  # the same
    for length in range(1_000, 1_100):
        blanks = " " * length
        assert decimal(f"{blanks}14.10{blanks}") == Decimal("14.10")
        assert decimal(f"{blanks}NaN") is None
        assert decimal(blanks) is None
        assert decimal("9" * length) is None
        assert values.familiar(f"{blanks}IDEA-EQ") == "IDEA-EQ"
    assert values._number.cache_info().currsize == 3  # noqa: SLF001  # the same
    assert values._familiar.cache_info().currsize == 0  # noqa: SLF001  # the same


def test_equal_keys_of_different_kinds_are_not_taken_for_one_another() -> None:
    written: list[object] = ["1", 1, Decimal(1), "1.0", True, 1.0]
    for _ in range(2):
        assert [decimal(each) for each in written] == [
            Decimal(1), Decimal(1), Decimal(1), Decimal("1.0"), None, None,
        ]  # fmt: skip
        assert str(decimal("1.0")) == "1.0"
        assert str(decimal("1")) == "1"
        assert [values.familiar(each) for each in written] == ["1", "1", "1", "1.0", None, None]
        assert str(decimal("-0.00")) == "0.00"
