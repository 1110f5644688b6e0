"""Permits counted in Postgres: one function there, one round trip, on connections that nothing else waits for.

No commit waits for the disk. What a crash of the server can take with it, three times `wal_writer_delay` at the most,
each process still knows, and counts once more when one of these connections has ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import starmap
from typing import Any, Self

from pydantic import SecretStr
from typing_extensions import override

from app.gathering import Gathering
from app.safeguards.counting import (
    ADDRESS_KEPT_FOR,
    ADDRESS_PREFIX,
    FIRST_PAUSE,
    FORGETFUL,
    LONGEST_PAUSE,
    LONGEST_WINDOW,
    QUIET,
    Allowance,
    Bucket,
    Count,
    PermitStore,
    Tally,
    Weakness,
)
from app.statements import PATIENCE, Statements

_CONNECTIONS = 4  # a replica's; each is held for less than a millisecond

_UNFLUSHED = "set_config('synchronous_commit', 'off', true)"
"""For this transaction, which is this statement: behind a pooler a connection is somebody else's in the next moment."""
_TAKE = f"""
SELECT taken.* FROM
    {_UNFLUSHED},
    take_permit($1::text::text[], $2::text::int[], $3::text::float8[], $4::text::int[], $5::boolean) AS taken
"""  # noqa: S608  # nothing of it comes from outside
_TAKE_ALL = f"""
SELECT taken.* FROM
    {_UNFLUSHED},
    unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS wanted (keys, belongs, lengths, usable),
    LATERAL take_permit(keys::text[], belongs::int[], lengths::float8[], usable::int[], true) AS taken
"""  # noqa: S608  # the same
"""One after another in the order given, each seeing what those before it have taken; arrays within arrays as text,
since PostgreSQL's have all the same length. The caller sorts them by key, as two who lock must in the same order."""
_MOST_AT_ONCE = 32
_GIVE_BACK = "SELECT give_permit_back($1)"
_PAUSE = "SELECT pause_permits($1, $2, $3, $4, $5)"
_FLUSHED_WITHIN = "SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'wal_writer_delay'"
_PURGE = """
WITH dropped AS (
    DELETE FROM rate_heads WHERE key IN (
        SELECT key FROM rate_heads
        WHERE coalesce(greatest(counted_at, paused_until), '-infinity') <= clock_timestamp() - make_interval(
            secs => CASE WHEN starts_with(key, $2) THEN CAST($3 AS float8) ELSE $1 END
        )
        LIMIT 25 FOR UPDATE SKIP LOCKED
    ) RETURNING key
), permits AS (
    DELETE FROM rate_permits USING dropped WHERE rate_permits.key = dropped.key
)
SELECT count(*) FROM dropped
"""


class PostgresPermits(PermitStore):
    """The database as the store of permits."""

    _statements: Statements

    def __init__(self) -> None:
        self._losses = 0
        self._wanted: Gathering[tuple[Bucket, ...], Tally] = Gathering(
            self._take, most=_MOST_AT_ONCE, patience=PATIENCE
        )

    @classmethod
    def of(cls, url: SecretStr) -> Self:
        """Return a store; connections come with the first calls, so that a database that is away stops no start."""
        store = cls()
        store._statements = Statements.of(url, most=_CONNECTIONS, on_lost=store._note_loss)
        return store

    def _note_loss(self) -> None:
        self._losses += 1

    @property
    @override
    def losses(self) -> int:
        return self._losses

    @override
    async def take(self, buckets: Sequence[Bucket]) -> Tally:
        """Count a call, together with those that others want counted at the same moment: one commit for all."""
        return await self._wanted.put(tuple(buckets))

    async def _take(self, wanted: list[tuple[Bucket, ...]]) -> Sequence[Tally]:
        if len(wanted) == 1:
            return [await self._tally(wanted[0], counts_it=True)]
        order = sorted(range(len(wanted)), key=lambda place: [bucket.key for bucket in wanted[place]])
        given = [(_array(each.key for each in wanted[place]), *_windows(wanted[place])) for place in order]
        rows = await self._statements.rows(_TAKE_ALL, *map(list, zip(*given, strict=True)))
        tallies = dict(zip(order, map(_told, rows), strict=True))
        return [tallies[place] for place in range(len(wanted))]

    @override
    async def look(self, buckets: Sequence[Bucket]) -> Tally:
        return await self._tally(tuple(buckets), counts_it=False)

    async def _tally(self, buckets: tuple[Bucket, ...], *, counts_it: bool) -> Tally:
        keys, windows = _array(each.key for each in buckets), _windows(buckets)
        return _told(await self._statements.row(_TAKE, keys, *windows, counts_it))

    @override
    async def give_back(self, key: str) -> None:
        await self._statements.row(_GIVE_BACK, key)

    @override
    async def pause(self, key: str, seconds: float | None) -> float:
        row = await self._statements.row(_PAUSE, key, seconds, FIRST_PAUSE, LONGEST_PAUSE, QUIET)
        return float(row[0])

    @override
    async def purge(self) -> int:
        """Drop some at a time: the day after a busy one has more than one statement may do."""
        dropped = 0
        while row := await self._statements.row(_PURGE, LONGEST_WINDOW, ADDRESS_PREFIX, ADDRESS_KEPT_FOR):
            if not row[0]:
                break
            dropped += row[0]
        return dropped

    @override
    async def weaknesses(self) -> list[Weakness]:
        """Return whether it may forget more than we could count once more."""
        row = await self._statements.row(_FLUSHED_WITHIN)
        return [("limit_store_flushes_late", {"wal_writer_delay": f"{row[0]:g} s"})] if row[0] * 3 > FORGETFUL else []

    @override
    async def aclose(self) -> None:
        await self._statements.aclose()


def _told(row: Mapping[str, Any]) -> Tally:
    counts = zip(row["used"] or (), row["waits"] or (), row["resets"] or (), strict=True)
    return Tally(row["granted"], row["paused"], tuple(starmap(Count, counts)))


def _windows(buckets: Iterable[Bucket]) -> tuple[str, str, str]:
    """Return to which bucket each window belongs, counted from one, their lengths, and how much of each is usable."""
    return _windows_of(tuple(bucket.allowances for bucket in buckets))


@lru_cache(1024)
def _windows_of(allowances: tuple[tuple[Allowance, ...], ...]) -> tuple[str, str, str]:
    given = [(place, each) for place, windows in enumerate(allowances, 1) for each in windows]
    belongs = ",".join(str(place) for place, _ in given)
    lengths = ",".join(repr(each.length) for _, each in given)
    usable = ",".join(str(each.usable) for _, each in given)
    return f"{{{belongs}}}", f"{{{lengths}}}", f"{{{usable}}}"


def _array(keys: Iterable[str]) -> str:
    """Return texts as PostgreSQL writes an array of them (manual, 8.15.6)."""
    quoted = (key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "{" + ",".join(f'"{key}"' for key in quoted) + "}"
