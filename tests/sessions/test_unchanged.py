"""What an unchanged answer came to is believed for as long as nothing has happened to its user, and ten seconds."""

from typing import Any

from app.sessions.unchanged import Unchanged
from tests.support.clock import Watch

BOOK: list[Any] = [object()]


async def test_it_is_the_very_object_under_the_very_numbers() -> None:
    unchanged = Unchanged()
    unchanged.keep("a", BOOK, (1, 2, 3), "rows")
    assert unchanged.recall("a", BOOK, (1, 2, 3)) == "rows"
    assert unchanged.recall("a", list(BOOK), (1, 2, 3)) is None  # equal is not the same
    assert unchanged.recall("b", BOOK, (1, 2, 3)) is None
    for other in ((2, 2, 3), (1, 3, 3), (1, 1, 3), (1, 2, 4), None):
        assert unchanged.recall("a", BOOK, other) is None


async def test_without_numbers_nothing_is_kept_and_what_was_is_forgotten() -> None:
    unchanged = Unchanged()
    unchanged.keep("a", BOOK, (1,), "rows")
    unchanged.keep("a", BOOK, None, "others")
    assert unchanged.recall("a", BOOK, (1,)) is None
    assert unchanged.recall("a", BOOK, None) is None


async def test_it_is_believed_for_ten_seconds_and_gone_when_nobody_asks_any_more() -> None:
    watch = Watch()
    unchanged = Unchanged(watch)
    unchanged.keep("a", BOOK, (1,), "rows")
    watch.time += 9.9
    assert unchanged.recall("a", BOOK, (1,)) == "rows"
    unchanged._forget()  # noqa: SLF001  # its timer runs by the loop's clock
    assert unchanged._known  # noqa: SLF001  # to see inside
    watch.time += 0.1
    assert unchanged.recall("a", BOOK, (1,)) is None
    unchanged._forget()  # noqa: SLF001  # the same
    assert (unchanged._known, unchanged._rows, unchanged._forgetting) == ({}, 0, None)  # noqa: SLF001  # the same


async def test_all_together_have_so_many_rows_and_no_more() -> None:
    unchanged = Unchanged()
    for number in range(100):
        unchanged.keep(str(number), [None] * 300, (1,), "rows")
        assert unchanged._rows == sum(len(each.answer) for each in unchanged._known.values()) <= 5_000  # noqa: SLF001  # to see inside
    assert set(unchanged._known) == {str(each) for each in range(84, 100)}  # noqa: SLF001  # the same
    unchanged.keep("99", [None] * 10, (1,), "rows")
    assert unchanged._rows == 15 * 300 + 10  # noqa: SLF001  # the same
    unchanged.keep("huge", [None] * 6_000, (1,), "rows")
    assert unchanged._rows <= 5_000  # noqa: SLF001  # the same
