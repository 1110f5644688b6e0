"""The session behind a token, looked up over a bare connection, in one statement for all who ask at the same moment.

Each is looked up once a second while it is used; through the engine that took six times as much, and twenty times where
sixteen are looked for (docs/performance.md).
"""

from collections.abc import Sequence

from app.gathering import Gathering
from app.sessions.store import FIND_MANY, Session, session_of
from app.statements import Statements

_MOST = 1_000  # sessions in one look


class SessionLooks:
    """Those of one process, one at a time."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._looks: Gathering[bytes, Session | None] = Gathering(self._look, most=_MOST, patience=statements.patience)

    async def find(self, token_hash: bytes) -> Session | None:
        """Return the session as it stands after the question, ended or not, with its user's broker session.

        Raises `TemporarilyUnavailable`.
        """
        return await self._looks.put(token_hash)

    async def _look(self, hashes: list[bytes]) -> Sequence[Session | None]:
        rows = await self._statements.rows(FIND_MANY, hashes)
        found = {row["token_hash"]: session_of(row) for row in rows}
        return [found.get(each) for each in hashes]
