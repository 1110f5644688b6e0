"""The broker's limits as data: which calls are counted together, in which windows, and for whom.

The numbers are the broker's own (introduction.md, "Rate Limit"; its data column is damaged, docs/broker.md "Limits" has
our reading). Whether it counts per user, per app or per address is not documented.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

_LENGTHS = (1, 60, 3600, 86_400)
"""Seconds of the four windows in the order in which the broker lists them."""
_UNITS = dict(zip(_LENGTHS, ("a second", "a minute", "an hour", "a day"), strict=True))
_NUMBER = re.compile(r"[0-9]{1,9}")


class Category(StrEnum):
    """Calls that count together: order calls, data calls (quotes, charts, feed), and everything else."""

    ORDER = "order"
    DATA = "data"
    NON_TRADING = "non-trading"

    __hash__ = str.__hash__  # a member is equal to its text; Enum's own is a function, and takes ten times as long


class Window(NamedTuple):
    """At most `limit` calls in any stretch of `seconds`."""

    seconds: int
    limit: int


class Urgency(StrEnum):
    """How much of a window a call may use: all of it, what is not kept for cancels, or what is left by half."""

    URGENT = "urgent"
    ORDINARY = "ordinary"
    IDLE = "idle"


Limits = Mapping[Category, tuple[Window, ...]]


def _windows(*limits: int) -> tuple[Window, ...]:
    return tuple(Window(*each) for each in zip(_LENGTHS, limits, strict=True))


CONTRACT: Limits = {
    Category.ORDER: _windows(25, 250, 500, 5000),
    Category.DATA: _windows(10, 1000, 5000, 10_000),
    Category.NON_TRADING: _windows(100, 500, 1000, 5000),
}
"""introduction.md, "Rate Limit"."""

ORDERS_PER_SECOND_PER_EXCHANGE = 10
"""The exchanges' rule for programs that are not registered as algos, in force since 2026-04-01 (docs/broker.md)."""


@dataclass(frozen=True)
class Demand:
    """One request to the broker, as the limits see it.

    `user_id` is none where nobody is proven yet. An act of which nobody knows at which exchange it is names them all.
    What is urgent, a cancel or what a cancel needs, may use what is kept back from everything else; what nobody has
    asked for is idle, and leaves half to those who do.
    """

    category: Category
    user_id: str | None = None
    exchanges: tuple[str, ...] = ()
    urgency: Urgency = Urgency.ORDINARY


@dataclass(frozen=True)
class Permit:
    """Leave for one request; `asked_at` (by `monotonic`) is no later than the moment at which the store counted it."""

    demand: Demand
    asked_at: float


def parse_limits(text: str, unnamed: Limits) -> Limits:
    """Read `order=25/250/500/5000,non-trading=…`: calls a second, a minute, an hour, a day; `-` limits nothing.

    A category that is not named is as in `unnamed`. Raises `ValueError` with a sentence.
    """
    found = dict(unnamed)
    named: set[Category] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, numbers = part.partition("=")
        category = _category(name.strip())
        if category in named:
            raise ValueError(f"{category} is named twice")
        named.add(category)
        found[category] = _parsed(category, numbers)
    return found


def _category(name: str) -> Category:
    try:
        return Category(name.lower())
    except ValueError:
        known = ", ".join(Category)
        raise ValueError(f"there is no category {name!r}; there are {known}") from None


def _parsed(category: Category, numbers: str) -> tuple[Window, ...]:
    given = [each.strip() for each in numbers.split("/")]
    if len(given) != len(_LENGTHS) or not all(each == "-" or (_NUMBER.fullmatch(each) and int(each)) for each in given):
        raise ValueError(f"{category} needs four numbers above 0, a second / a minute / an hour / a day, or - for none")
    windows = tuple(Window(length, int(each)) for length, each in zip(_LENGTHS, given, strict=True) if each != "-")
    for shorter, longer in pairwise(windows):
        if longer.limit < shorter.limit:
            raise ValueError(
                f"{category}: {longer.limit} {_UNITS[longer.seconds]} is below "
                f"{shorter.limit} {_UNITS[shorter.seconds]}, which could then never be reached"
            )
    return windows
