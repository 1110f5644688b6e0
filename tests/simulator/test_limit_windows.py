"""The simulator's sliding windows at given times, held against plain lists and the contract's numbers."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.calls import CALLS
from simulator.limits import CONTRACT, LENGTHS, Limits, SlidingWindow, orders_by_exchange

SECOND = 10**9
GAPS = st.lists(
    st.sampled_from([0, 1, SECOND // 3, SECOND - 1, SECOND, SECOND + 1, 20 * SECOND, 60 * SECOND, 3600 * SECOND]),
    max_size=60,
)


@given(gaps=GAPS, seconds=st.sampled_from(LENGTHS), limit=st.integers(1, 5), calls=st.integers(1, 3))
def test_a_window_counts_and_waits_as_a_plain_list_does(gaps: list[int], seconds: int, limit: int, calls: int) -> None:
    window, times, at = SlidingWindow(seconds), list[int](), 0

    def in_window(moment: int) -> int:
        return sum(each > moment - seconds * SECOND for each in times)

    for gap in gaps:
        at += gap
        assert window.count(at) == in_window(at)
        wait = window.wait(at, limit, calls)
        assert (wait == 0) == (in_window(at) + calls <= limit)
        if wait and calls <= limit:
            assert in_window(at + wait) + calls <= limit < in_window(at + wait - 1) + calls
        window.add(at)
        times.append(at)


def test_a_window_keeps_only_what_is_in_it() -> None:
    window = SlidingWindow(1)
    for moment in range(10_000):
        window.add(moment * SECOND // 10)
        assert window.count(moment * SECOND // 10) == min(moment + 1, 10)
    assert len(window._times) == 10  # noqa: SLF001  # what it keeps is seen nowhere else


def test_more_at_once_than_a_limit_allows_waits_for_a_whole_window() -> None:
    window = SlidingWindow(60)
    assert window.wait(0, limit=2, calls=3) == 60 * SECOND


@pytest.mark.parametrize(("category", "call"), [("order", "convert"), ("nonTrading", "funds")])
@pytest.mark.parametrize("seconds", LENGTHS)
def test_each_limit_of_the_contract_is_exact_to_the_nanosecond(category: str, call: str, seconds: int) -> None:
    limits = Limits(is_enforced=True)
    limit = CONTRACT[category][seconds]
    limits.change({category: dict.fromkeys(LENGTHS, 10**6) | {seconds: limit}})
    assert [limits.receive(call, "AB1234", {}, at) for at in range(limit)] == [0] * limit
    edge = seconds * SECOND
    assert limits.receive(call, "AB1234", {}, limit) == seconds
    assert limits.receive(call, "AB1234", {}, edge - 1) == 1
    assert [limits.receive(call, "AB1234", {}, edge + at) for at in (0, 0, 1)] == [0, 1, 0]
    assert limits.refused[category] == dict.fromkeys(LENGTHS, 0) | {seconds: 3}
    assert (limits.refused_calls, limits.received[category]) == (3, limit + 5)


def test_the_table_is_the_contracts() -> None:
    assert {category: list(limits.values()) for category, limits in CONTRACT.items()} == {
        "order": [25, 250, 500, 5000],
        "data": [10, 1000, 5000, 10_000],
        "nonTrading": [100, 500, 1000, 5000],
    }


def test_every_call_is_of_one_category() -> None:
    limits = Limits(is_enforced=True)
    for call in CALLS:
        limits.receive(call, "AB1234", {}, 0)
    assert limits.received == {"order": 4, "data": 0, "nonTrading": len(CALLS) - 4}
    assert limits.received_from == {"AB1234": limits.received}


def test_a_call_over_several_limits_is_counted_under_each_and_waits_for_the_longest() -> None:
    limits = Limits(is_enforced=True)
    limits.change({"order": {1: 1, 3600: 1}})
    limits.orders_per_second_per_exchange = 1
    assert [limits.receive("place", "AB1234", {"NSE": 1}, at) for at in (0, 1)] == [0, 3600]
    assert limits.refused["order"] == {1: 1, 60: 0, 3600: 1, 86_400: 0}
    assert (limits.refused_at_an_exchange, limits.refused_calls) == (1, 1)


def test_every_order_of_a_list_counts_at_its_exchange_and_none_of_a_list_that_is_refused() -> None:
    limits = Limits(is_enforced=False)
    limits.orders_per_second_per_exchange = 3
    sent = [{"NSE": 2}, {"NSE": 2, "BSE": 3}, {"BSE": 3}, {"NSE": 1}, {"NSE": 1}]
    assert [limits.receive("place", "AB1234", each, 0) for each in sent] == [0, 1, 0, 0, 1]
    assert (limits.refused_at_an_exchange, limits.refused_calls) == (2, 2)


def test_the_worst_window_counts_what_was_over_a_limit_too() -> None:
    limits = Limits(is_enforced=True)
    for user, calls in (("AB1234", 40), ("FO5678", 30)):
        for at in range(calls):
            limits.receive("convert", user, {}, at * SECOND // 20)
    assert limits.worst["order"] == {1: 20, 60: 40, 3600: 40, 86_400: 40}
    assert limits.worst["nonTrading"] == dict.fromkeys(LENGTHS, 0)


@given(
    gaps=GAPS,
    calls=st.lists(st.tuples(st.sampled_from(["place", "funds"]), st.sampled_from("AB"), st.sampled_from("NM"))),
)
def test_the_limits_refuse_what_a_plain_list_refuses(gaps: list[int], calls: list[tuple[str, str, str]]) -> None:
    limits = Limits(is_enforced=True)
    few = {1: 3, 60: 4, 3600: 6, 86_400: 9}
    limits.change({"order": few, "nonTrading": few})
    limits.orders_per_second_per_exchange = 2
    kept, refused, at = list[tuple[int, str, str, str]](), 0, 0
    for gap, (call, user, exchange) in zip(gaps, calls, strict=False):
        at += gap
        mine = [(then, where) for then, what, who, where in kept if (what, who) == (call, user)]
        is_over = any(sum(then > at - each * SECOND for then, _ in mine) >= limit for each, limit in few.items())
        at_exchange = sum(then > at - SECOND and where == exchange for then, where in mine)
        is_over |= call == "place" and at_exchange >= 2
        wait = limits.receive(call, user, {exchange: 1} if call == "place" else {}, at)
        assert (wait > 0) == is_over
        refused += is_over
        if not is_over:
            kept.append((at, call, user, exchange))
    assert limits.refused_calls == refused


def test_orders_are_counted_at_the_exchange_that_they_name_or_were_sent_to() -> None:
    known = {"1": "NSE", "2": "MCX"}.get
    placed = [{"exchange": "NSE"}, {"exchange": "NSE"}, {"exchange": "NFO"}, {"exchange": "LSE"}, {"exchange": []}, 7]
    assert orders_by_exchange("place", placed, known) == {"NSE": 2, "NFO": 1}
    assert orders_by_exchange("modify", {"exchange": "BSE", "orderNo": "1"}, known) == {"BSE": 1}
    assert orders_by_exchange("cancel", [{"orderNo": "1"}, {"orderNo": "2"}, {"orderNo": "3"}], known) == {
        "NSE": 1,
        "MCX": 1,
    }
    for call in set(CALLS) - {"place", "modify", "cancel"}:
        assert orders_by_exchange(call, {"exchange": "NSE"}, known) == Counter()
    assert orders_by_exchange("place", "no JSON", known) == Counter()
