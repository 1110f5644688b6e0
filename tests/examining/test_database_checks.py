"""What the doctor says of a database that is not as it should be: the line, the level, and what to do."""

from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from app.examining.everything import examine
from app.safeguards.sealing import KeyRing
from app.sessions.store import token_place
from app.tables import SCHEMA_REVISION
from tests.conftest import create_clone
from tests.examining.conftest import Doctor
from tests.support.clock import SettableClock
from tests.support.configured import KEY, configured
from tests.support.ledgers import by_hand, opened, ring_of, write_rows

BROKEN_KEY = "k1:" + "QUJD" * 10 + "QUI="  # another key of the same name


async def test_a_database_that_is_away_leaves_nothing_to_look_at(doctor: Doctor) -> None:
    found = await doctor("--offline", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert found["database"] == ("failed", "The database can't be reached. Check DATABASE_URL.")
    for check in ("rights", "schema", "keys", "clock"):
        assert found[check] == ("failed", "Not looked at: the database can't be asked.")
    assert found["store of permits"][0] == "failed"


async def test_a_host_that_has_no_address_is_named(doctor: Doctor) -> None:
    found = await doctor("--offline", DATABASE_URL="postgresql://u@no-such-host.invalid/d")
    assert found["database"][0] == "failed"
    assert found["database"][1].startswith("no-such-host.invalid can't be resolved")


async def test_a_schema_is_missing_behind_or_ahead(doctor: Doctor, hand: asyncpg.Connection, worker: str) -> None:
    empty = await create_clone(f"doctor_empty_{worker}", template=None)
    found = await doctor("--offline", DATABASE_URL=empty)
    assert found["schema"] == ("failed", "The database has no schema yet: run `partner migrate`.")
    assert found["rights"][0] == found["keys"][0] == "failed"
    await hand.execute("UPDATE alembic_version SET version_num = '0001'")
    behind = f"It is at 0001 and this release needs {SCHEMA_REVISION}: run `partner migrate`."
    assert (await doctor("--offline"))["schema"] == ("failed", behind)
    await hand.execute("UPDATE alembic_version SET version_num = '9999'")
    level, sentence = (await doctor("--offline"))["schema"]
    assert level == "warning"
    assert "ahead of" in sentence


async def test_rights_that_are_lacking_are_named(doctor: Doctor, hand: asyncpg.Connection, running_role: str) -> None:
    assert (await doctor("--offline", DATABASE_URL=running_role))["rights"][0] == "ok"
    role = urlsplit(running_role).username
    await hand.execute(f"REVOKE UPDATE ON intents FROM {role}")
    level, sentence = (await doctor("--offline", DATABASE_URL=running_role))["rights"]
    assert level == "failed"
    assert "intents (UPDATE)" in sentence
    await hand.execute(f"REVOKE ALL ON broker_sessions FROM {role}")
    found = await doctor("--offline", DATABASE_URL=running_role)
    assert "broker_sessions (DELETE, INSERT, SELECT, UPDATE)" in found["rights"][1]
    assert found["keys"] == ("failed", "The database can't be used: permission denied for table broker_sessions.")
    assert found["clock"][0] == "ok"


async def test_who_may_rewrite_the_ledger_is_told_so(doctor: Doctor, hand: asyncpg.Connection) -> None:
    level, sentence = (await doctor("--offline"))["rights"]
    assert level == "warning"
    assert "DELETE, TRUNCATE, UPDATE the ledger" in sentence
    await hand.execute("ALTER TABLE ledger DISABLE TRIGGER USER")
    level, sentence = (await doctor("--offline"))["rights"]
    assert level == "failed"
    assert "append-only" in sentence


async def test_a_direct_url_that_leads_elsewhere_hears_nothing(doctor: Doctor, worker: str) -> None:
    elsewhere = await create_clone(f"doctor_elsewhere_{worker}")
    level, sentence = (await doctor("--offline", DATABASE_DIRECT_URL=elsewhere))["direct connection"]
    assert level == "failed"
    assert "DATABASE_DIRECT_URL" in sentence
    gone = await doctor("--offline", DATABASE_DIRECT_URL="postgresql://127.0.0.1:1/none")
    assert gone["direct connection"] == ("failed", "The database can't be reached. Check DATABASE_DIRECT_URL.")
    assert gone["database"][0] == "ok"
    assert gone["store of permits"] == (
        "failed",
        "Calls can't be counted in the database, so no order passes: check DATABASE_DIRECT_URL.",
    )


@pytest.fixture
async def sealed(clone: str, hand: asyncpg.Connection) -> None:
    """Leave a token and a ledger's head in the database, both sealed by k1."""
    db = opened(clone)
    await write_rows(db)
    await db.aclose()
    await hand.execute("INSERT INTO users (id, created_at, signed_in_at) VALUES ('AB1234', now(), now())")
    session_id = await hand.fetchval("SELECT gen_random_uuid()")
    token = ring_of("k1").seal(SecretStr("a token"), token_place(session_id))
    await hand.execute(
        "INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at)"
        " VALUES ('AB1234', $1, $2, $3, now(), now() + interval '1 hour')",
        session_id, token.content, token.key_id,
    )  # fmt: skip


async def test_a_ring_that_opens_all_is_told_with_what_is_needed(doctor: Doctor, sealed: None) -> None:
    level, sentence = (await doctor("--offline"))["keys"]
    assert level == "ok"
    assert sentence == "k1 seals, what is stored needs k1, and all of it opens."
    other = KEY.replace("k1:", "k2:").replace("AAEC", "AgEC")
    sentence = (await doctor("--offline", ENCRYPTION_KEYS=f"{KEY},{other}"))["keys"][1]
    assert sentence.endswith("Only rows of the ledger may still need k2.")


async def test_a_key_that_is_lacking_or_another_one_is_found(
    doctor: Doctor, sealed: None, hand: asyncpg.Connection
) -> None:
    level, sentence = (await doctor("--offline", ENCRYPTION_KEYS=KEY.replace("k1:", "k3:")))["keys"]
    assert (level, sentence.split(",")[0]) == ("failed", "ENCRYPTION_KEYS lacks k1")
    level, sentence = (await doctor("--offline", ENCRYPTION_KEYS=BROKEN_KEY))["keys"]
    assert level == "failed"
    assert "The token of AB1234 can't be opened" in sentence
    await hand.execute(
        "UPDATE broker_sessions SET expires_at = now() - interval '1 minute'"
    )  # the next start erases it
    level, sentence = (await doctor("--offline", ENCRYPTION_KEYS=BROKEN_KEY))["keys"]
    assert (level, "partner audit verify" in sentence) == ("failed", True)
    assert (await doctor("--offline"))["keys"][0] == "ok"
    await by_hand(hand, "UPDATE ledger_heads SET number = number + 1")
    assert (await doctor("--offline"))["keys"][0] == "failed"


async def test_of_very_many_tokens_the_ends_are_tried_and_told(
    doctor: Doctor, sealed: None, hand: asyncpg.Connection
) -> None:
    await hand.execute("INSERT INTO users (id, created_at, signed_in_at)"
                       " SELECT 'U' || n, now(), now() FROM generate_series(1000, 2099) AS n")  # fmt: skip
    good, wrong = (
        ring_of("k1"),
        KeyRing(configured("postgresql:///", "http://127.0.0.1:1", encryption_keys=BROKEN_KEY).encryption_keys),
    )
    rows = []
    for number in range(1100):
        session_id = uuid4()
        token = (wrong if number >= 1090 else good).seal(SecretStr("a token"), token_place(session_id))
        rows.append((f"U{1000 + number}", session_id, token.content, token.key_id, number))
    await hand.executemany(
        "INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at)"
        " VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), now() + interval '1 hour')", rows
    )  # fmt: skip
    level, sentence = (await doctor("--offline"))["keys"]
    assert (level, "The token of U20" in sentence) == ("failed", True)
    await hand.execute("DELETE FROM broker_sessions WHERE user_id >= 'U2090'")
    level, sentence = (await doctor("--offline"))["keys"]
    assert level == "ok"
    assert "1000 of 1091 tokens and 1 of 1 heads were tried and open" in sentence


async def test_a_fault_of_ours_in_one_check_leaves_the_others(doctor: Doctor, hand: asyncpg.Connection) -> None:
    await hand.execute("ALTER TABLE ledger_heads DROP COLUMN seal")
    found = await doctor("--offline")
    level, sentence = found["keys"]
    assert (level, "a fault of our own, ProgrammingError at " in sentence) == ("failed", True)
    assert found["schema"][0] == found["clock"][0] == found["store of permits"][0] == "ok"


@pytest.mark.parametrize(("drift", "level"), [(0, "ok"), (-3, "warning"), (3, "warning"), (40, "failed")])
async def test_a_clock_that_drifts_from_the_databases_is_told(clone: str, drift: int, level: str) -> None:
    clock = SettableClock()
    clock.advance(timedelta(seconds=drift))
    found = await examine(configured(clone, "http://127.0.0.1:1/"), clock, is_offline=True)
    told = next(each for each in found if each.check == "clock")
    assert told.level == level
    assert f"{abs(drift)}.0 s" in told.sentence
