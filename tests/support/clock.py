"""Clocks that a test can set."""

from datetime import UTC, datetime, timedelta

from typing_extensions import override

from app.clock import Clock


class SettableClock(Clock):
    """Runs with the machine's until a test moves it."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    @override
    def now(self) -> datetime:
        return super().now() + self._ahead

    def advance(self, by: timedelta) -> None:
        self._ahead += by

    def set(self, moment: datetime) -> None:
        self._ahead = moment.astimezone(UTC) - super().now()

    def reset(self) -> None:
        self._ahead = timedelta(0)


class Watch:
    """Seconds in a test's hand, for what counts by `monotonic`."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time
