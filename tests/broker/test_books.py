"""A book that has not changed by a byte is not read again; one that has is, and nobody's is anybody else's."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker import books
from app.broker.books import KnownBooks
from app.broker.errors import BrokerRefused, BrokerSessionDead
from app.broker.transport import Answer
from app.problems import BrokerFault
from tests.support.clock import Watch

ROW = {
    "orderno": "26112400000001", "exchange": "NSE", "tradingsymbol": "IDEA-EQ", "qty": "10", "transtype": "B",
    "ret": "DAY", "price": "14.10", "product": "CNC", "pricetype": "L", "ordertype": "Regular", "orderstatus": "OPEN",
    "fillshares": "0", "ordertime": "10:00:00 24-11-2026",
}  # fmt: skip
JSON = "application/json"


def answer(*rows: dict[str, Any], status: int = 200, content_type: str = JSON) -> Answer:
    body = json.dumps({"status": "Ok", "message": "Success", "result": list(rows)}).encode()
    return Answer(status, content_type, body)


async def test_the_same_bytes_are_the_same_list_and_other_bytes_are_not() -> None:
    known = KnownBooks("remarks")
    first = known.rows("a", answer(ROW))
    assert known.rows("a", answer(ROW)) is first
    for changed in (
        ROW | {"orderstatus": "OPEM"}, ROW | {"fillshares": "1"}, ROW | {"price": "14.11"}, ROW | {"price": "14.1 "},
        ROW | {"remarks": "P1"}, ROW | {"unknown": None},
    ):  # fmt: skip
        again = known.rows("a", answer(changed))
        assert again is not first
        assert known.rows("a", answer(changed)) is again
    assert known.rows("a", answer(ROW)) is not first
    assert known.rows("a", answer(ROW)) == first
    assert known.rows("a", answer(ROW | {"fillshares": "4"}))[0].order.filled_quantity == 4


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_book_that_changes_by_one_byte_is_read_again(place: int, byte: int) -> None:
    """Read as if nobody had known the one before, with the same rows or the same complaint."""
    body = answer(ROW).body
    place %= len(body)
    changed = Answer(200, JSON, body[:place] + bytes([byte]) + body[place + 1 :])

    async def compare() -> None:
        known = KnownBooks("remarks")
        known.rows("a", answer(ROW))
        assert said(known, changed) == said(KnownBooks("remarks"), changed)

    asyncio.run(compare())


def said(known: KnownBooks, given: Answer) -> Any:
    try:
        return known.rows("a", given)
    except (BrokerFault, BrokerSessionDead, BrokerRefused) as error:
        return type(error), str(error)


async def test_the_same_bytes_under_another_status_or_kind_are_another_answer() -> None:
    known = KnownBooks("remarks")
    known.rows("a", answer(ROW))
    with pytest.raises(BrokerSessionDead):
        known.rows("a", answer(ROW, status=401))
    with pytest.raises(BrokerFault):
        known.rows("a", answer(ROW, content_type="text/html"))


async def test_byte_identical_books_of_two_users_share_nothing() -> None:
    known = KnownBooks("remarks")
    one, other = known.rows("a", answer(ROW)), known.rows("b", answer(ROW))
    assert one == other
    assert one is not other
    assert all(mine is not hers for mine, hers in zip(one, other, strict=True))
    assert known.rows("b", answer()) == []
    assert known.rows("a", answer(ROW)) is one


async def test_what_failed_is_not_remembered_and_forgets_nothing() -> None:
    known = KnownBooks("remarks")
    first = known.rows("a", answer(ROW))
    for _ in range(2):
        with pytest.raises(BrokerFault):
            known.rows("a", Answer(200, JSON, b"[{"))
    assert known.rows("a", answer(ROW)) is first


def large(user: int, size: int) -> Answer:
    return answer(ROW | {"orderno": str(user), "filler": "x" * size})


async def test_all_books_together_have_their_bounds() -> None:
    known = KnownBooks("remarks")
    for user in range(100):
        known.rows(str(user), large(user, 100_000))
        assert known._bytes == sum(len(each.answer.body) for each in known._read.values())  # noqa: SLF001  # to see inside
        assert known._bytes <= books._MOST  # noqa: SLF001  # the same
    assert 10 < len(known._read) < 30  # noqa: SLF001  # the same
    newest = known.rows("99", large(99, 100_000))
    assert known.rows("99", large(99, 100_000)) is newest


async def test_a_book_that_is_too_long_is_read_each_time_and_its_elder_forgotten() -> None:
    known = KnownBooks("remarks")
    known.rows("a", answer(ROW))
    assert known.rows("a", large(1, 200_000)) is not known.rows("a", large(1, 200_000))
    assert (known._bytes, known._read) == (0, {})  # noqa: SLF001  # to see inside


async def test_nobodys_book_stays_when_he_does_not_look_any_more() -> None:
    watch = Watch()
    known = KnownBooks("remarks", watch)
    known.rows("a", answer(ROW))
    watch.time += 59
    known.rows("b", answer(ROW))
    known._forget()  # noqa: SLF001  # its timer runs by the loop's clock
    assert set(known._read) == {"a", "b"}  # noqa: SLF001  # to see inside
    watch.time += 1
    known._forget()  # noqa: SLF001  # the same
    assert set(known._read) == {"b"}  # noqa: SLF001  # the same
    watch.time += 60
    known._forget()  # noqa: SLF001  # the same
    assert (known._read, known._bytes, known._forgetting) == ({}, 0, None)  # noqa: SLF001  # the same
