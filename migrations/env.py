"""Runs the revisions over the service's own driver, under a lock so that one replica migrates and the others wait."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from app.db import open_engine, told_as_unavailable
from app.settings import Settings
from app.tables import metadata

_MIGRATION_LOCK = 0x676F706F636B6574  # "gopocket"; any number that nobody else uses
_ALONE = text("""
    SELECT set_config('idle_in_transaction_session_timeout', '600s', true),
           set_config('tcp_keepalives_idle', '30', true),
           set_config('tcp_keepalives_interval', '10', true),
           set_config('tcp_keepalives_count', '3', true)
""")
"""By which the server lets go of lock and tables when our host has vanished; over a socket the last three are idle."""
_PATIENCE = 600.0  # seconds, of a statement: an index over years of orders, or the turn of another replica


def _migrate(connection: Connection) -> None:
    """Wait for the turn, then do all that is behind in one transaction: a run that is killed has done nothing.

    No statement waits longer than five seconds for a table: behind it everybody who reads that table would wait, too.
    """
    connection.execute(_ALONE)
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    context.run_migrations()


async def _run() -> None:
    url = context.config.attributes.get("database_url") or Settings.from_environment().direct_database_url
    engine = open_engine(url, pool_size=1, statement_timeout=_PATIENCE)
    try:
        async with told_as_unavailable(), engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


asyncio.run(_run())
