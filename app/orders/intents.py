"""What is done at the broker in a user's name: one intent each, and what is known of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.safeguards.idempotency import Repeatable
from app.trading import Outcome

SENDING = "sending"

# Reasons of our own, beside the broker's words, the slugs of problems, and `not-sent` of the broker package:
NOT_FOUND_AT_BROKER = "not-found-at-broker"
SENDER_LOST = "sender-lost"
TRADING_DAY_OVER = "trading-day-over"
NOT_IN_THE_BOOK = "not-in-the-book"
ONE_OF_CANDIDATES = "may-be-one-of-candidates"
NOT_STORED = "outcome-not-stored"

BEFORE = "before"
"""Among an intent's terms: how things stood before, by which one can tell afterwards whether it was done."""


class Action(StrEnum):
    """What is done at the broker in a user's name."""

    PLACE = "PLACE"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"
    CONVERT = "CONVERT"


class ResolvedBy(StrEnum):
    """Who said what became of it: the broker's answer, its book, or a person."""

    BROKER = "broker"
    BOOK = "book"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Intent:
    """One thing done, or to be done, at the broker."""

    id: UUID
    user_id: str
    action: Action
    fingerprint: bytes | None
    terms: dict[str, Any]
    order_no: str | None
    correlation: str | None
    trading_day: date
    created_at: datetime
    doubtful_at: datetime
    state: str
    reason: str | None
    resolved_at: datetime | None
    is_watched: bool
    candidates: list[str]
    absent_since: datetime | None
    cancel_wanted_at: datetime | None
    now: datetime
    """The store's clock when this was read."""

    @property
    def wanted(self) -> dict[str, Any]:
        """What was asked for, without how things stood before."""
        return {name: value for name, value in self.terms.items() if name != BEFORE}

    @property
    def outcome(self) -> Outcome:
        """What is known of it; what is still being sent is unknown."""
        return Outcome.UNKNOWN if self.state == SENDING else Outcome(self.state)

    @property
    def is_under_way(self) -> bool:
        """Say whether its sender may still come back with an answer."""
        return self.state == SENDING and self.now < self.doubtful_at


@dataclass(frozen=True)
class Beginning:
    """What is written down before the first byte leaves."""

    user_id: str
    action: Action
    terms: Mapping[str, Any]
    likeness: bytes
    repeatable: Repeatable | None
    order_no: str | None
    send_window: timedelta
    patience: timedelta
    """From `send_by` until the sender is no longer waited for."""
    is_news: bool = True
    """What is none was wanted before, and quickens no looks at the book."""


@dataclass(frozen=True)
class Page:
    """What to list: begun from `first` to before `last`, after `cursor`, newest first; every outcome where none is."""

    actions: list[Action]
    outcome: Outcome | None

    first: datetime | None
    last: datetime | None
    cursor: str | None
    limit: int


@dataclass(frozen=True)
class Unknowns:
    """How many things of one kind nobody knows the outcome of, and since when the oldest of them."""

    action: str
    is_of_today: bool
    count: int
    oldest_seconds: float
    candidates: int


def likeness(content: Mapping[str, object]) -> bytes:
    """Return what two equal orders have in common."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
