"""What the database says of itself, of us, and of what lies in it; nothing here changes a row."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import SecretStr
from sqlalchemy import ColumnElement, RowMapping, asc, desc, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.clock import random_bytes
from app.db import Database, told_as_unavailable
from app.safeguards.audit import Head
from app.safeguards.rekeying import HEADS, TOKENS, Kept, head_key_ids
from app.safeguards.sealing import Sealed
from app.tables import broker_sessions, metadata

_CONNECT_TIMEOUT = 5.0  # seconds
_HEARD_WITHIN = 2.0  # seconds; a notice takes a millisecond
_CHANNEL = "partner_doctor"
_MOST_OPENED = 500  # of each key from either end: where one name stands for two keys, the later one sealed the later

_SERVER = text("""
    SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS is_standby,
           (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls, current_user AS role
""")
_RIGHTS = text("""
    SELECT name, wanted, has_table_privilege(name, wanted) AS is_had
    FROM unnest(CAST(:names AS text[])) AS name
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS wanted
    WHERE to_regclass(name) IS NOT NULL
""")
_TRIGGERS = text("""
    SELECT count(*) FROM pg_trigger
    WHERE tgrelid = to_regclass('ledger') AND NOT tgisinternal AND tgenabled IN ('O', 'A')
""")

_WANTED = {
    "ledger": {"SELECT", "INSERT"},
    "ledger_heads": {"SELECT", "INSERT", "UPDATE"},
    "alembic_version": {"SELECT"},
}
"""What the running role needs of these; of every other table it needs all four (docs/operations.md, "Roles")."""
_ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}


@dataclass(frozen=True)
class Server:
    """What a server is, and what we are to it; `tls` is the protocol's version, none without encryption."""

    version: int
    is_standby: bool
    tls: str | None
    role: str


@dataclass(frozen=True)
class Rights:
    """What the role lacks, by table, what it may do to the ledger beyond adding, and how many triggers guard that."""

    lacking: Mapping[str, set[str]]
    beyond: set[str]
    triggers: int


@dataclass(frozen=True)
class Locked:
    """What is sealed: by which keys all of it, how much there is, and of each kind and key enough to try them."""

    token_key_ids: frozenset[str]
    head_key_ids: frozenset[str]
    tokens: list[tuple[str, UUID, Sealed]]
    heads: list[Head]
    token_count: int
    head_count: int


async def server(tx: AsyncConnection) -> Server:
    return Server(**(await tx.execute(_SERVER)).mappings().one())


async def database_now(tx: AsyncConnection) -> datetime:
    """Return the moment that the database's clock shows."""
    now: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def rights(tx: AsyncConnection) -> Rights | None:
    """Return how the rights of the role in use differ from those that it needs, none where there is no schema."""
    names = [*metadata.tables, "alembic_version"]
    had: dict[str, set[str]] = {}
    for row in await tx.execute(_RIGHTS, {"names": names}):
        had.setdefault(row.name, set()).update({row.wanted} if row.is_had else ())
    if "ledger" not in had:
        return None
    lacking = {name: missing for name in had if (missing := _WANTED.get(name, _ALL) - had[name])}
    beyond = had["ledger"] - _WANTED["ledger"]
    return Rights(lacking, beyond, (await tx.execute(_TRIGGERS)).scalar_one())


async def locked(tx: AsyncConnection, now: datetime) -> Locked | None:
    """Return what the ring has to open, none where there is no schema.

    A token whose time is over at `now` is left: the next start erases it.
    """
    if await tx.scalar(text("SELECT to_regclass('ledger_heads') IS NULL OR to_regclass('broker_sessions') IS NULL")):
        return None
    lives = broker_sessions.c.token_sealed.is_not(None), broker_sessions.c.expires_at > now
    ids = await tx.scalars(select(broker_sessions.c.token_key_id).where(*lives).distinct())
    tokens = await _from_both_ends(tx, TOKENS, broker_sessions.c.connected_at, lives)
    heads = await _from_both_ends(tx, HEADS, HEADS.owner, (HEADS.is_sealed,))
    return Locked(
        frozenset(key_id for key_id in ids if key_id),
        await head_key_ids(tx),
        [(row["user_id"], row["id"], Sealed(row["token_key_id"], row["token_sealed"])) for row in tokens],
        [Head(row["chain"], row["number"], row["mac"], row["key_id"], row["seal"]) for row in heads],
        await _count(tx, TOKENS, lives),
        await _count(tx, HEADS, (HEADS.is_sealed,)),
    )


async def _from_both_ends(
    tx: AsyncConnection, kept: Kept, order: ColumnElement[Any], wanted: Sequence[ColumnElement[bool]]
) -> Sequence[RowMapping]:
    """Return of each key the first and the last rows by an order that tells them apart."""
    turns = [
        func.row_number().over(partition_by=kept.key_id, order_by=(by(order), by(kept.owner))) for by in (asc, desc)
    ]
    rows = select(kept.owner.table, *(each.label(f"turn_{at}") for at, each in enumerate(turns))).where(*wanted)
    found = rows.subquery("found")
    is_near_an_end = or_(*(found.c[f"turn_{at}"] <= _MOST_OPENED for at in range(len(turns))))
    return (await tx.execute(select(found).where(is_near_an_end))).mappings().all()


async def _count(tx: AsyncConnection, kept: Kept, wanted: Sequence[ColumnElement[bool]]) -> int:
    return int(await tx.scalar(select(func.count()).select_from(kept.owner.table).where(*wanted)) or 0)


async def hears(url: SecretStr, db: Database) -> bool:
    """Say whether a notice sent over the pool is heard on a connection by this URL; a pooler would swallow it.

    Raises `TemporarilyUnavailable`.
    """
    said, heard = random_bytes(8).hex(), asyncio.Event()

    def hand_on(_connection: Any, _pid: int, _channel: str, told: str) -> None:
        if told == said:
            heard.set()

    async with told_as_unavailable():
        connection = await asyncpg.connect(
            url.get_secret_value(), timeout=_CONNECT_TIMEOUT, command_timeout=_CONNECT_TIMEOUT
        )
        try:
            await connection.add_listener(_CHANNEL, hand_on)
            async with db.reading() as tx:
                await tx.execute(select(func.pg_notify(_CHANNEL, said)))
            async with asyncio.timeout(_HEARD_WITHIN):
                return await heard.wait()
        except TimeoutError:
            return False
        finally:
            connection.terminate()
