"""Whether the database is there with the schema of this release, looked up past the pool that requests wait for.

A pool that is merely busy makes no replica unready: taken out of the balance one after the other, they would leave the
rest with even more.
"""

from collections.abc import Callable

from app.clock import monotonic
from app.problems import TemporarilyUnavailable
from app.statements import Statements
from app.tables import SCHEMA_REVISION

GOOD_FOR = 1.0
"""Seconds for which a good look is believed: however many ask, the database is asked once a second."""

_HAS_TABLE = "SELECT to_regclass('alembic_version') IS NOT NULL AS is_there"
_REVISION = "SELECT max(version_num) AS revision FROM alembic_version"


class Readiness:
    """What one process knows of it."""

    def __init__(self, statements: Statements, now: Callable[[], float] = monotonic) -> None:
        self._statements = statements
        self._now = now
        self._good_until = float("-inf")

    async def check(self) -> None:
        """Return where all is well; raises `TemporarilyUnavailable`, after a second or two where nobody answers."""
        began_at = self._now()
        if began_at < self._good_until:
            return
        revision = await self._revision()
        if revision is None or revision < SCHEMA_REVISION:
            raise TemporarilyUnavailable("The database's schema is behind this release; run `partner migrate`.")
        self._good_until = began_at + GOOD_FOR

    async def _revision(self) -> str | None:
        if not (await self._statements.row(_HAS_TABLE))["is_there"]:
            return None
        revision: str | None = (await self._statements.row(_REVISION))["revision"]
        return revision
