"""Time and chance come from here and from nowhere else."""

import secrets
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

IST = ZoneInfo("Asia/Kolkata")
"""The trading day, the broker's times and its daily log-out are all told in Indian time."""


_RUNNING_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """The machine's clock; tests pass one that they can set."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251  # the one place that may ask


def monotonic() -> float:
    """Return seconds that never run backwards and go on while the machine sleeps, where it can tell (Linux)."""
    return time.clock_gettime(_RUNNING_ON)


def random_bytes(count: int) -> bytes:
    """Return `count` bytes fit for keys and ids."""
    return secrets.token_bytes(count)


def chance() -> float:
    """Return a number from 0 up to 1, to spread what would else happen to many at the same moment."""
    return secrets.randbelow(1 << 24) / (1 << 24)


def next_occurrence(after: datetime, times: tuple[time_of_day, ...]) -> datetime | None:
    """Return the first moment strictly after `after` at which an Indian wall clock shows one of `times`, in UTC."""
    local = after.astimezone(IST)
    moments = [datetime.combine(local.date() + timedelta(days=days), wall, IST) for days in (0, 1) for wall in times]
    later = [moment for moment in moments if moment > local]
    return min(later).astimezone(UTC) if later else None


def trading_day(moment: datetime) -> date:
    """Return the day of an aware moment as the exchanges count it."""
    return moment.astimezone(IST).date()
