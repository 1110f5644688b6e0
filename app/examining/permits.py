"""The store of permits: can it be asked, and may it be relied upon."""

from urllib.parse import urlsplit

from app.db import Database
from app.examining.findings import Finding, failed, ok, warning
from app.examining.names import Unresolved, refuse_unresolved
from app.problems import TemporarilyUnavailable
from app.resources import open_permits
from app.safeguards.counting import Allowance, Bucket
from app.settings import Settings
from app.settings_encryption import database_hosts
from app.tables import SCHEMA_REVISION

CHECK = "store of permits"

_SAID = {
    "limit_store_forgets": "It forgets at a restart what was counted: set appendonly yes.",
    "limit_store_evicts": "It may evict what was counted: set maxmemory-policy noeviction.",
    "limit_store_not_asked": "It does not say whether it keeps what it is told: see that appendonly is yes and "
    "maxmemory-policy noeviction.",
    "limit_store_flushes_late": "A crash of it may take more with it than we count once more: set wal_writer_delay to "
    "600 ms or less; 200 ms is usual.",
}


async def examine_permits(settings: Settings) -> list[Finding]:
    """Return one line; nothing is counted."""
    url = settings.rate_limit_url
    past = "DATABASE_DIRECT_URL" if settings.database_direct_url else "DATABASE_URL"
    where, name = ("Redis", "RATE_LIMIT_URL") if url else ("the database", past)
    try:
        await refuse_unresolved(
            [_host(url.get_secret_value())] if url else database_hosts(settings.direct_database_url.get_secret_value())
        )
        if url is None and not await _has_schema(settings):
            return [failed(CHECK, "There is no schema of this release to count calls in: run `partner migrate`.")]
        store = await open_permits(settings)
        try:
            await store.look([Bucket("doctor", (Allowance("doctor-1", 1, 1.0, 1, 1),))])
            found = await store.weaknesses()
        finally:
            await store.aclose()
    except Unresolved as error:
        return [failed(CHECK, f"{error} Check {name}.")]
    except TemporarilyUnavailable:
        return [failed(CHECK, f"Calls can't be counted in {where}, so no order passes: check {name}.")]
    if found:
        return [warning(CHECK, " ".join(_SAID.get(event, f"It has a weakness: {event}.") for event, _ in found))]
    return [ok(CHECK, f"Calls are counted in {where}.")]


async def _has_schema(settings: Settings) -> bool:
    db = Database.open(settings.database_url, pool_size=2)
    try:
        revision = await db.schema_revision()
    finally:
        await db.aclose()
    return revision is not None and revision >= SCHEMA_REVISION


def _host(url: str) -> str:
    """Return the host of a Redis URL, nothing where it is a socket."""
    parts = urlsplit(url)
    return "" if parts.scheme == "unix" else parts.hostname or ""
