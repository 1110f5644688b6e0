"""Runs the revisions over the service's own driver, under a lock so that one replica migrates and the others wait."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from app.db import open_engine, told_as_unavailable
from app.settings import Settings
from app.tables import metadata

_MIGRATION_LOCK = 0x676F706F636B6574  # "gopocket"; any number that nobody else uses


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    context.run_migrations()


async def _run() -> None:
    url = context.config.attributes.get("database_url") or Settings.from_environment().direct_database_url
    engine = open_engine(url, pool_size=1)
    try:
        async with told_as_unavailable(), engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


asyncio.run(_run())
