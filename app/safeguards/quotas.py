"""What is left, told to the caller: the fields `RateLimit` and `RateLimit-Policy` of IETF draft 10, tightest first.

draft-ietf-httpapi-ratelimit-headers-10: a policy has a quota `q` for a window of `w` seconds; of it `r` calls are left,
and after `t` seconds there are more.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import NamedTuple

from app.limits import Category, Limits


class Quota(NamedTuple):
    """One window as it stands for an ordinary call; `reset` in seconds."""

    policy: str
    seconds: int
    limit: int
    remaining: int
    reset: float

    @property
    def reset_seconds(self) -> int:
        return ceil(self.reset)


@dataclass(frozen=True)
class Standing:
    """What was left of each window of one user and category, `at` a moment by `monotonic`."""

    quotas: tuple[Quota, ...]
    at: float

    @property
    def by_tightness(self) -> list[Quota]:
        """Return the windows with the one first of which the least is left, in proportion; of equals the longest."""
        return sorted(self.quotas, key=lambda each: (each.remaining / each.limit, -each.seconds))

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """Both fields as an answer tells them, the tightest window first."""
        ordered = self.by_tightness
        if not ordered:  # nothing is limited, and an empty field is none
            return {}
        return {
            "RateLimit-Policy": ", ".join(f'"{each.policy}";q={each.limit};w={each.seconds}' for each in ordered),
            "RateLimit": ", ".join(f'"{each.policy}";r={each.remaining};t={each.reset_seconds}' for each in ordered),
        }


class Telling:
    """What the answer to one request is going to say of its caller's limits."""

    def __init__(self) -> None:
        self.user_id: str | None = None
        self.standings: dict[Category, Standing] = {}
        self.is_silent = False

    def category(self, otherwise: Category) -> Category:
        """Return what to speak of: order calls where one was counted, else whatever was."""
        if Category.ORDER in self.standings:
            return Category.ORDER
        return next(iter(self.standings), otherwise)


telling: ContextVar[Telling | None] = ContextVar("telling", default=None)
"""The one of the request that is being answered; none in the background."""


def note(category: Category, standing: Standing | None) -> None:
    """Remember what the answer is to tell; with none it tells no remainder: what stopped the call is others' use."""
    current = telling.get()
    if current is None:
        return
    if standing is None:
        current.is_silent = True
    else:
        current.standings[category] = standing


def say_nothing() -> None:
    """Tell no remainder with this answer, and so look at none."""
    if current := telling.get():
        current.is_silent = True


def policy_field(limits: Limits, category: Category) -> str:
    """Return `RateLimit-Policy` where nobody's windows are known."""
    windows = limits.get(category, ())
    return ", ".join(f'"{category}-{each.seconds}";q={each.limit};w={each.seconds}' for each in windows)
