"""Production reaches its stores over an encrypted line, or not at all."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.settings_encryption import is_database_encrypted, is_redis_encrypted
from tests.support.production import production

DATABASE = "postgresql://u:p@db.internal/x?sslmode=verify-full"


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("postgresql://u:p@db.internal/x", False), ("postgresql://u:p@db.internal/x?sslmode=prefer", False),
        *((f"postgresql://u:p@db.internal/x?sslmode={mode}", True) for mode in ("require", "verify-ca", "verify-full")),
        *((f"postgresql://u:p@db.internal/x?sslmode={mode}", False) for mode in ("disable", "allow", "REQUIRE", "")),
        ("postgresql://db.internal/x?sslmode=verify-full&sslmode=disable", False),
        ("postgresql://u:p@127.0.0.1/x", True), ("postgresql://127.8.7.6:5432/x", True),
        ("postgresql://[::1]:5432/x", True), ("postgresql://[::1]/x?sslmode=disable", True),
        ("postgresql://localhost/x", True), ("postgresql://localhost.evil.example/x", False),
        ("postgresql://u@/x?host=/run/postgresql", True), ("postgresql://u@%2Frun%2Fpostgresql/x", True),
        ("postgresql://u@/x?host=db.internal", False), ("postgresql://u@/x?host=127.0.0.1:5432,db.internal", False),
        ("postgresql://u@127.0.0.1/x?host=db.internal", False), ("postgresql://u@/x?host=[::1]", True),
        ("postgresql://127.0.0.1,localhost:5433/x", True), ("postgresql://127.0.0.1,db.internal:5433/x", False),
        ("postgresql://127.0.0.1,/x", False), ("postgresql://[::1],[2001:db8::1]/x", False),
        ("postgresql://a.internal,b.internal/x?sslmode=verify-full", True), ("postgresql:///x", False),
        ("postgresql:///x?service=there", False), ("postgresql:///x?service=there&sslmode=verify-full", True),
    ],
)  # fmt: skip
def test_a_database_is_reached_encrypted_or_within_the_machine(url: str, is_fine: bool) -> None:
    assert is_database_encrypted(url) is is_fine


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [("redis://limits:6379/0", False), ("rediss://limits:6379/0", True), ("unix:///run/valkey.sock?db=1", True),
     ("redis://127.0.0.1:6379", True), ("redis://:pw@localhost/1", True), ("redis://[::1]/1", True)],
)  # fmt: skip
def test_the_store_of_the_limits_is_too(url: str, is_fine: bool) -> None:
    assert is_redis_encrypted(url) is is_fine


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"database_url": "postgresql://partner:s3cret@db.internal/partner"}, "DATABASE_URL"),
        ({"database_direct_url": "postgresql://partner:s3cret@db.internal/partner"}, "DATABASE_DIRECT_URL"),
        ({"rate_limit_url": "redis://:s3cret@limits:6379/0"}, "RATE_LIMIT_URL"),
    ],
)
def test_production_names_the_setting_that_is_not_and_shows_no_secret(changed: dict[str, Any], name: str) -> None:
    given: dict[str, Any] = {"database_url": DATABASE} | changed
    with pytest.raises(ValidationError, match=f"{name} must") as refused:
        production(**given, broker_url="http://127.0.0.1:9/")
    assert "s3cret" not in str(refused.value)
    production(**given, broker_url="http://127.0.0.1:9/", app_env="development")
