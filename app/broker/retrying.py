"""One more try of a read, where asking again can help and is no burden to a broker that is down.

Half a second of a broker's restart is hidden from callers; a broker that stays away gets a tenth more calls and no
multiple of them.
"""

from datetime import timedelta

from app.problems import BrokerUnavailable

_EARNED = 0.1  # of a retry, by each read
_MOST_SAVED = 10.0  # retries; so many may come in a row after a quiet time
_QUICK = 0.25  # of the deadline: a first try that took longer leaves too little for a second
_PAUSE = (0.05, 0.25)  # seconds between the two tries, by chance
_SHORTEST_PAUSES = 0.1  # of the deadline at most, where that is very short


class RetryBudget:
    """What a process may try again: one read in ten, and a few."""

    def __init__(self) -> None:
        self._saved = _MOST_SAVED

    def earn(self) -> None:
        """Count a read that is asked for the first time."""
        self._saved = min(self._saved + _EARNED, _MOST_SAVED)

    def spend(self) -> bool:
        """Say whether there is a retry left, and use it."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def can_help(problem: BrokerUnavailable, took: float, deadline: timedelta) -> bool:
    """Say whether asking again can help: there was no answer, or none but "out of service", and it came quickly.

    A broker or a breaker of ours that says when to come again is not asked before.
    """
    return "Retry-After" not in problem.headers and took <= deadline.total_seconds() * _QUICK


def pause(chance: float, deadline: timedelta) -> float:
    """Return the seconds to wait before the second try, for a number by chance from 0 to 1."""
    shortest, longest = _PAUSE
    return min(shortest + (longest - shortest) * chance, deadline.total_seconds() * _SHORTEST_PAUSES)
