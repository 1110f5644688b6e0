"""Order books as they were read last: one that has not changed by a byte since is not read again.

Nearly every look at a book shows what the one before it has shown; reading a row costs as much as all the rest of it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.broker.answers import read_rows
from app.broker.transport import Answer
from app.broker.wire import BookRow, book_row
from app.clock import monotonic

_LONGEST = 128 * 1024  # bytes of one book; some hundred rows
_MOST = 2 * 1024 * 1024  # bytes of all books; what they were read as takes four times that
_KEPT_FOR = 60.0  # seconds; no user's orders stay in memory because he once looked


@dataclass(frozen=True)
class _Read:
    answer: Answer
    rows: list[BookRow]
    at: float

    def is_of(self, answer: Answer) -> bool:
        mine = self.answer
        return (mine.status, mine.content_type, mine.body) == (answer.status, answer.content_type, answer.body)


class KnownBooks:
    """The books of one process."""

    def __init__(self, correlation_field: str, now: Callable[[], float] = monotonic) -> None:
        self._field = correlation_field
        self._now = now
        self._read: dict[str, _Read] = {}
        self._bytes = 0
        self._forgetting: asyncio.TimerHandle | None = None

    def rows(self, user_id: str, answer: Answer) -> list[BookRow]:
        """Return the rows of a user's book, the very same list as before where it is the same; raises as `read_rows`.

        Nobody may change that list.
        """
        known = self._read.get(user_id)
        if known is not None and known.is_of(answer):
            return known.rows
        rows = [book_row(row, self._field) for row in read_rows(answer)]
        self._keep(user_id, _Read(answer, rows, self._now()))
        return rows

    def _keep(self, user_id: str, read: _Read) -> None:
        self._drop(user_id)
        if len(read.answer.body) > _LONGEST:
            return
        self._read[user_id] = read
        self._bytes += len(read.answer.body)
        self._drop_what_is_too_much()
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().call_later(_KEPT_FOR, self._forget)

    def _forget(self) -> None:
        """Drop what is too old also where nobody looks any more."""
        self._forgetting = None
        self._drop_what_is_too_much()
        if self._read:
            self._forgetting = asyncio.get_running_loop().call_later(_KEPT_FOR, self._forget)

    def _drop_what_is_too_much(self) -> None:
        """Drop the oldest, which come first: a dictionary keeps the order in which it was filled."""
        too_old = self._now() - _KEPT_FOR
        while self._read:
            user_id, oldest = next(iter(self._read.items()))
            if oldest.at > too_old and self._bytes <= _MOST:
                return
            self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        if (known := self._read.pop(user_id, None)) is not None:
            self._bytes -= len(known.answer.body)
