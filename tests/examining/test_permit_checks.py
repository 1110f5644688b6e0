"""What the doctor says of the store of permits."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from pydantic import SecretStr

from app.schema import migrate_schema
from tests.examining.conftest import Doctor
from tests.support.replicas import until
from workbench.servers import Postgres
from workbench.valkey import Valkey

CHECK = "store of permits"


async def test_the_database_counts_where_nothing_else_is_named(doctor: Doctor) -> None:
    assert (await doctor("--offline"))[CHECK] == ("ok", "Calls are counted in the database.")


async def test_a_database_that_flushes_late_is_a_warning(doctor: Doctor) -> None:
    with TemporaryDirectory() as folder, Postgres(Path(folder), durable=False) as server:
        url = server.create_database("late")
        await asyncio.to_thread(migrate_schema, SecretStr(url))
        hand = await asyncpg.connect(url)
        await hand.execute("ALTER SYSTEM SET wal_writer_delay = '1s'")
        await hand.execute("SELECT pg_reload_conf()")

        async def is_late() -> bool:
            return bool(await hand.fetchval("SELECT current_setting('wal_writer_delay') = '1s'"))

        await until(is_late)
        await hand.close()
        level, sentence = (await doctor("--offline", DATABASE_URL=url))[CHECK]
    assert (level, "wal_writer_delay" in sentence) == ("warning", True)


async def test_a_redis_that_keeps_what_it_is_told_is_good(doctor: Doctor, tmp_path: Path) -> None:
    with Valkey(tmp_path / "kept", is_kept=True) as valkey:
        assert (await doctor("--offline", RATE_LIMIT_URL=valkey.url))[CHECK] == ("ok", "Calls are counted in Redis.")


async def test_a_redis_that_forgets_is_a_warning(doctor: Doctor, valkey_url: str) -> None:
    level, sentence = (await doctor("--offline", RATE_LIMIT_URL=valkey_url))[CHECK]
    assert (level, sentence) == ("warning", "It forgets at a restart what was counted: set appendonly yes.")


async def test_a_redis_that_is_away_is_a_failure(doctor: Doctor) -> None:
    level, sentence = (await doctor("--offline", RATE_LIMIT_URL="redis://127.0.0.1:1"))[CHECK]
    assert (level, "check RATE_LIMIT_URL" in sentence) == ("failed", True)
    level, sentence = (await doctor("--offline", RATE_LIMIT_URL="redis://no-such-host.invalid"))[CHECK]
    assert level == "failed"
    assert sentence.startswith("no-such-host.invalid can't be resolved")
