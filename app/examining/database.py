"""The database: is it there, new enough, encrypted; may we do what we have to, and no more; do keys and clocks fit."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from pydantic import SecretStr

from app.clock import Clock
from app.db import Database, reason_of
from app.examining import store
from app.examining.findings import Finding, ended, failed, fault, not_looked_at, ok, warning
from app.examining.names import Unresolved, refuse_unresolved
from app.problems import TemporarilyUnavailable
from app.safeguards.sealing import CannotOpen, KeyRing, Sealed
from app.sessions.store import token_place
from app.settings import Settings
from app.settings_encryption import database_hosts, is_certificate_checked
from app.tables import SCHEMA_REVISION

CHECKS = ("database", "direct connection", "rights", "schema", "keys", "clock")

_OLDEST = 150_000  # as server_version_num writes 15.0
_MAJOR = 10_000
_DRIFT, _MUCH_DRIFT = timedelta(seconds=1), timedelta(seconds=30)
_MOST_NAMED = 5


async def examine_database(settings: Settings, ring: KeyRing, clock: Clock) -> list[Finding]:
    """Return a line for each of `CHECKS`."""
    try:
        async with _opened(settings.database_url) as db:
            first = await _server(settings, db)
            works = zip(
                CHECKS[1:],
                (_direct(settings, db), _rights(db), _schema(db), _keys(db, ring, clock), _clock(db, clock)),
                strict=True,
            )
            return [first, *[await _told(check, work) for check, work in works]]
    except (TemporarilyUnavailable, Unresolved) as problem:
        told = reason_of(problem) if isinstance(problem, TemporarilyUnavailable) else str(problem)
        return [
            failed("database", f"{told} Check DATABASE_URL."),
            *not_looked_at(CHECKS[1:], "the database can't be asked."),
        ]


async def _told(check: str, work: Awaitable[Finding]) -> Finding:
    """Return what a check finds; what keeps one from being made does not keep the others."""
    found = await ended(work)
    if isinstance(found, TemporarilyUnavailable):
        return failed(check, reason_of(found))
    return fault([check], found)[0] if isinstance(found, Exception) else found


@asynccontextmanager
async def _opened(url: SecretStr) -> AsyncIterator[Database]:
    await refuse_unresolved(database_hosts(url.get_secret_value()))
    db = Database.open(url, pool_size=2)
    try:
        yield db
    finally:
        await db.aclose()


async def _server(settings: Settings, db: Database) -> Finding:
    async with db.reading() as tx:
        found = await store.server(tx)
    what = f"PostgreSQL {found.version // _MAJOR}, {found.tls or 'not encrypted'}, as {found.role}."
    if found.version < _OLDEST:
        return failed("database", f"{what} It is older than 15, which is the oldest that is good enough: upgrade it.")
    if found.is_standby:
        return failed(
            "database", f"{what} It is a standby, which takes no order: let DATABASE_URL lead to the primary."
        )
    if found.tls and settings.is_production and not is_certificate_checked(settings.database_url.get_secret_value()):
        return warning(
            "database",
            f"{what} Its certificate is not checked: say sslmode=verify-full and sslrootcert in DATABASE_URL.",
        )
    return ok("database", what)


async def _direct(settings: Settings, db: Database) -> Finding:
    """Say whether the way past a pooler is one: the migrations' lock and the notices need it."""
    check, name = "direct connection", "DATABASE_DIRECT_URL" if settings.database_direct_url else "DATABASE_URL"
    try:
        await refuse_unresolved(database_hosts(settings.direct_database_url.get_secret_value()))
        is_heard = await store.hears(settings.direct_database_url, db)
    except Unresolved as error:
        return failed(check, f"{error} Check {name}.")
    except TemporarilyUnavailable as problem:
        return failed(check, f"{reason_of(problem)} Check {name}.")
    if not is_heard:
        return failed(
            check,
            f"No notice is heard by {name}: it leads through a pooler or to another database. Let DATABASE_DIRECT_URL "
            "lead past it.",
        )
    return ok(check, f"Notices are heard by {name}.")


async def _rights(db: Database) -> Finding:
    async with db.reading() as tx:
        found = await store.rights(tx)
    if found is None:
        return failed("rights", "There is no schema yet to have rights to: run `partner migrate`.")
    if found.lacking:
        named = [f"{name} ({', '.join(sorted(found.lacking[name]))})" for name in sorted(found.lacking)]
        return failed(
            "rights",
            f"The role lacks rights to {_shortened(named)}: run the grants of docs/operations.md after each migration.",
        )
    if not found.triggers:
        return failed("rights", "Nothing keeps the ledger append-only: its triggers are gone or switched off.")
    if found.beyond:
        return warning(
            "rights",
            f"The role may {', '.join(sorted(found.beyond))} the ledger: run the service as a role that may only add "
            "to it (docs/operations.md).",
        )
    return ok("rights", "The role may do what it has to, and only add to the ledger.")


async def _schema(db: Database) -> Finding:
    revision = await db.schema_revision()
    if revision is None:
        return failed("schema", "The database has no schema yet: run `partner migrate`.")
    if revision < SCHEMA_REVISION:
        told = f"It is at {revision} and this release needs {SCHEMA_REVISION}: run `partner migrate`."
        return failed("schema", told)
    if revision > SCHEMA_REVISION:
        return warning(
            "schema",
            f"It is at {revision}, ahead of the {SCHEMA_REVISION} of this release: right while a newer one is being "
            "rolled out; finish that (docs/deploying.md).",
        )
    return ok("schema", f"It is at {revision}, as this release wants it.")


async def _keys(db: Database, ring: KeyRing, clock: Clock) -> Finding:
    async with db.reading() as tx:
        found = await store.locked(tx, clock.now())
    if found is None:
        return failed("keys", "There is no schema yet with anything sealed in it: run `partner migrate`.")
    needed = found.token_key_ids | found.head_key_ids
    if lacking := needed - ring.key_ids:
        return failed(
            "keys",
            f"ENCRYPTION_KEYS lacks {', '.join(sorted(lacking))}, which stored tokens or the ledger's heads need: add "
            "it last or, where nobody has it any more, `partner keys forget`.",
        )
    unopened = [user_id for user_id, session_id, sealed in found.tokens if not _opens(ring, session_id, sealed)]
    if unopened:
        return failed(
            "keys",
            f"The token of {_shortened(unopened)} can't be opened: a key has the right name and is another key.",
        )
    if doubtful := [head.chain for head in found.heads if head.doubt(ring)]:
        return failed(
            "keys", f"The ledger's head of {_shortened(doubtful)} is not to be believed: run `partner audit verify`."
        )
    unneeded = ring.key_ids - needed - {ring.sealing_key_id}
    also = f" Only rows of the ledger may still need {', '.join(sorted(unneeded))}." if unneeded else ""
    used = f"what is stored needs {', '.join(sorted(needed))}" if needed else "nothing stored needs a key yet"
    return ok("keys", f"{ring.sealing_key_id} seals, {used}, and {_opened_of(found)}.{also}")


def _opened_of(found: store.Locked) -> str:
    """Say how much of what is sealed was opened; of a great many only some are tried."""
    tried = [(len(found.tokens), found.token_count, "tokens"), (len(found.heads), found.head_count, "heads")]
    if all(some == every for some, every, _ in tried):
        return "all of it opens"
    counts = " and ".join(f"{some} of {every} {what}" for some, every, what in tried)
    return f"{counts} were tried and open, of each key those at both ends"


def _opens(ring: KeyRing, session_id: UUID, sealed: Sealed) -> bool:
    try:
        ring.open(sealed, token_place(session_id))
    except (CannotOpen, ValueError):  # the latter for bytes that never were a seal
        return False
    return True


async def _clock(db: Database, clock: Clock) -> Finding:
    """Compare this machine's clock with the database's, by which permits and the time of orders are counted."""
    async with db.reading() as tx:
        await store.database_now(tx)  # the first statement of a connection takes longer
        before = clock.now()
        theirs = await store.database_now(tx)
        after = clock.now()
    drift = abs(theirs - (before + (after - before) / 2))
    told = f"This machine and the database are {drift.total_seconds():.1f} s apart"
    if drift > _MUCH_DRIFT:
        return failed("clock", f"{told}: sessions and sign-ins would end at the wrong time. Set both by NTP.")
    if drift > _DRIFT:
        return warning("clock", f"{told}, more than 1 s: set both by NTP.")
    return ok("clock", f"{told}.")


def _shortened(named: list[str]) -> str:
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more
