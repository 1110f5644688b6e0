"""The simulator's own clock and its ways of writing a time: it is another program than the backend."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

IST = ZoneInfo("Asia/Kolkata")


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # app/clock.py belongs to the other program


def time_first(at: datetime) -> str:
    """Return a time as order rows spell it (contract §4)."""
    return f"{at.astimezone(IST):%H:%M:%S %d-%m-%Y}"


def date_first(at: datetime) -> str:
    """Return a time as trade rows spell it, the other way round (contract §4)."""
    return f"{at.astimezone(IST):%d-%m-%Y %H:%M:%S}"
