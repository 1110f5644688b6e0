"""A ledger with something in it, and a hand in the database that should not be there."""

from pathlib import Path

import asyncpg
from pydantic import SecretBytes, SecretStr

from app.db import Database
from app.safeguards.audit import Ledger
from app.safeguards.sealing import KeyRing
from app.settings_parsing import EncryptionKey

USER = "AB1234"
SECRETS = {"k1": bytes(range(32)), "k2": bytes(range(32, 64))}  # the first is that of configured.KEY


def ring_of(*key_ids: str) -> KeyRing:
    """Return a ring of these keys; the first one signs."""
    return KeyRing(tuple(EncryptionKey(key_id, SecretBytes(SECRETS[key_id])) for key_id in key_ids))


RING = ring_of("k1")


async def write_rows(db: Database, count: int = 1, *, chain: str = USER, ring: KeyRing = RING) -> None:
    """Write rows as the service does, each in a transaction of its own."""
    for index in range(count):
        async with db.transaction() as tx:
            facts = {"index": index, "reason": None, "text": "अनिता"}
            await Ledger(ring).write(tx, chain, "tested", actor="tester", facts=facts)


async def by_hand(rows: asyncpg.Connection, statement: str) -> None:
    """Do what only a superuser can: change the ledger past its triggers."""
    await rows.execute("SET session_replication_role = replica")
    await rows.execute(statement)
    await rows.execute("SET session_replication_role = DEFAULT")


def opened(url: str) -> Database:
    """Open a database for a test; close it with `aclose`."""
    return Database.open(SecretStr(url))


def grants() -> str:
    """Return the statements of docs/operations.md that make the running role."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    return page.partition("<!-- grants -->")[2].partition("```sql\n")[2].partition("```")[0]
