"""How fresh the answers of many users have to be, asked in one statement."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from app.sessions.store import Freshness
from app.statements import Statements

_LOOK = """
SELECT id, book_epoch, last_event,
       EXTRACT(EPOCH FROM clock_timestamp() - ordered_at)::float8 AS since_order,
       EXISTS (
           SELECT FROM intents WHERE intents.user_id = users.id AND intents.state IN ('sending', 'unknown')
       ) AS has_unknown
FROM users WHERE id = ANY ($1::text[])
"""
"""The same as each look for a session asks for (store.py); a test holds them together."""


class FreshnessLooks:
    """Looks into the users' rows, one at a time: one connection besides the requests' pool is enough."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def look(self, user_ids: Iterable[str]) -> Mapping[str, Freshness]:
        """Return what decides about the earlier answers of these users, as it is now; `TemporarilyUnavailable`."""
        rows = await self._statements.rows(_LOOK, sorted(user_ids))
        return {
            row["id"]: Freshness(
                epoch=row["book_epoch"],
                since_order=None if row["since_order"] is None else timedelta(seconds=row["since_order"]),
                has_unknown=row["has_unknown"],
                last_event=row["last_event"],
            )
            for row in rows
        }
