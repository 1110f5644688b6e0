"""What a store of permits is asked and answers: may this call go now, by every window at once, and what is left.

Each bucket is an exact log of the calls that were let through. A window counts the calls of its last `length` seconds;
no stretch of that length, however aligned, ever holds more than were usable. Two stores do this alike, Postgres and
Redis (docs/decisions/0011); each decides in one step and one round trip, by its own clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ADDRESS_PREFIX = "address:"
"""Of the keys under which visits of an address are counted."""
ADDRESS_KEPT_FOR = 120.0
"""Seconds; an address is somebody's, and its window is a minute."""
FIRST_PAUSE = 5.0
"""Seconds of the first pause where the broker names none; the next one is twice as long."""
LONGEST_PAUSE = 300.0
QUIET = 60.0
"""After so many seconds without a refusal beyond a pause, the next one is a first one again."""
FORGETFUL = 2.0
"""Seconds; a store that crashes may have forgotten what it counted within its last 0.6 (see counting_postgres.py)."""
LONGEST_WINDOW = 86_400.0 + 60.0
"""Seconds; nothing older is counted by anybody, guard included."""


class Allowance(NamedTuple):
    """One window of a bucket: of `limit` calls in `seconds`, or `length` as we count, this caller may use `usable`."""

    policy: str
    seconds: int
    length: float
    limit: int
    usable: int


@dataclass(frozen=True)
class Bucket:
    """Calls that are counted together, under a key that all replicas share; `is_own` for the caller's own.

    They are forgotten `kept_for` seconds after the last one.
    """

    key: str
    allowances: tuple[Allowance, ...]
    is_own: bool = True
    kept_for: float = LONGEST_WINDOW


class Count(NamedTuple):
    """One window as it stands: calls in it, seconds until one more is usable, seconds until the oldest leaves it."""

    used: int
    wait: float
    reset: float


@dataclass(frozen=True)
class Tally:
    """What a store said: whether the call was counted, seconds of a pause that the broker asked for, every window.

    The windows are those of all buckets, one bucket after the other.
    """

    is_granted: bool
    pause: float
    counts: tuple[Count, ...]


Weakness = tuple[str, Mapping[str, str]]
"""For what a store is not to be relied upon: an event for the log, with its facts."""


class PermitStore(Protocol):
    """Where permits are counted; raises `TemporarilyUnavailable` when it is out of reach."""

    async def take(self, buckets: Sequence[Bucket]) -> Tally:
        """Count one call in every bucket, or in none of them where one window or a pause forbids it."""

    async def look(self, buckets: Sequence[Bucket]) -> Tally:
        """Return what `take` would say, and count nothing."""

    async def give_back(self, key: str) -> None:
        """Take the newest call out of a bucket again."""

    async def pause(self, key: str, seconds: float | None) -> float:
        """Let nothing through for so long, by default longer each time; return for how long from now."""

    async def purge(self) -> int:
        """Forget what no window counts any more; return how many buckets were dropped."""

    @property
    def losses(self) -> int:
        """How often it may have lost what it had counted within the last `FORGETFUL` seconds."""

    async def weaknesses(self) -> list[Weakness]:
        """Return for what it is not set up to be relied upon; one that can't be asked says just that."""

    async def aclose(self) -> None:
        """Close the connections."""
