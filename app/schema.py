"""The schema's history, run from a command: what `alembic upgrade head` does, without its file."""

import asyncio
from pathlib import Path

from pydantic import SecretStr

from app.db import Database

_FOLDER = Path(__file__).parents[1] / "migrations"


def migrate_schema(url: SecretStr) -> tuple[str | None, str | None]:
    """Bring the schema up to date; return the revisions before and after. Not to be called within a running loop."""
    from alembic import command  # noqa: PLC0415  # seven megabytes that a server has no use for
    from alembic.config import Config  # noqa: PLC0415

    before = asyncio.run(_revision(url))
    config = Config(attributes={"database_url": url})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    command.upgrade(config, "head")
    return before, asyncio.run(_revision(url))


async def _revision(url: SecretStr) -> str | None:
    db = Database.open(url)
    try:
        return await db.schema_revision()
    finally:
        await db.aclose()
