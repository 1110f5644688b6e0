"""Sessions looked up a moment ago, so that a page full of requests looks once.

None is older than a second, counted from before its look. What this replica changes about a user it forgets at once,
what another one changes as soon as its notice arrives (docs/decisions/0013).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from app.clock import monotonic
from app.sessions.store import Session

_LONGEST = 1.0  # seconds from the look
_MOST = 20_000  # sessions in one process


@dataclass(frozen=True)
class Look:
    """A look at the database that has begun: when, and after which of the changes."""

    at: float
    changes: int


class Remembered:
    """The live sessions that one process knows."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._sessions: dict[bytes, tuple[Session, float]] = {}
        self._of_user: defaultdict[str, set[bytes]] = defaultdict(set)
        self._changes = 0

    def recall(self, token_hash: bytes) -> Session | None:
        """Return a session that is young enough to be believed."""
        known = self._sessions.get(token_hash)
        return known[0] if known and self._now() - known[1] < _LONGEST else None

    def begin_look(self) -> Look:
        """Call this before the database is asked."""
        return Look(self._now(), self._changes)

    def keep(self, token_hash: bytes, session: Session, look: Look) -> None:
        """Remember what a look has found, unless something was forgotten meanwhile: it may be of before."""
        if look.changes != self._changes:
            return
        self._drop(token_hash)
        self._drop_old()
        self._sessions[token_hash] = session, look.at
        self._of_user[session.user_id].add(token_hash)

    def forget(self, user_id: str | None) -> None:
        """Forget everything about a user, or about everybody."""
        self._changes += 1
        for token_hash in list(self._sessions if user_id is None else self._of_user.get(user_id, ())):
            self._drop(token_hash)

    def _drop(self, token_hash: bytes) -> None:
        known = self._sessions.pop(token_hash, None)
        if known is None:
            return
        of_user = self._of_user[known[0].user_id]
        of_user.discard(token_hash)
        if not of_user:
            del self._of_user[known[0].user_id]

    def _drop_old(self) -> None:
        """Forget the oldest, which stand first: those whose second is over, and one where there are too many."""
        too_old = self._now() - _LONGEST
        while self._sessions:
            token_hash, (_, at) = next(iter(self._sessions.items()))
            if at > too_old and len(self._sessions) < _MOST:
                return
            self._drop(token_hash)
