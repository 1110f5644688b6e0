"""What the doctor says of the store of permits."""

from pathlib import Path

from tests.examining.conftest import Doctor
from workbench.valkey import Valkey

CHECK = "store of permits"


async def test_the_database_counts_where_nothing_else_is_named(doctor: Doctor) -> None:
    assert (await doctor("--offline"))[CHECK] == ("ok", "Calls are counted in the database.")


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
