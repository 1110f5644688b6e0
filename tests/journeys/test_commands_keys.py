"""Keys as an operator changes them: batch by batch under a running service, and nothing that is lost unsaid."""

import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from app.clock import Clock
from app.db import Database
from app.safeguards.audit import SYSTEM
from app.safeguards.audit_verifying import verify
from app.safeguards.rekeying import (
    HEADS,
    TOKENS,
    Need,
    head_key_ids,
    is_younger,
    needs,
    put_back,
    read_batch,
    rekey_heads,
)
from app.safeguards.sealing import KeyRing, Sealed
from app.sessions.store import token_place
from tests.conftest import create_clone
from tests.support.commands import refused, said, typed
from tests.support.configured import KEY
from tests.support.environment import environment
from tests.support.ledgers import SECRETS, USER, by_hand, grants, opened, ring_of, write_rows

NOWHERE = "http://127.0.0.1:1/"
OLD, NEW = ring_of("k1"), ring_of("k2")
K2 = f"k2:{base64.b64encode(SECRETS['k2']).decode()}"
WHY = ("--reason", "a drill", "--actor", "Asha")
AGAIN = "When k2 is first on every replica, run the same command again."
ROWS_ALONE = "the service starts without it, `partner audit verify` needs it."


@pytest.fixture
def given(given: dict[str, str]) -> dict[str, str]:
    """Put another key in front of the usual one."""
    return given | {"ENCRYPTION_KEYS": f"{K2},{KEY}"}


async def connect(rows: asyncpg.Connection, user: str, ring: KeyRing = OLD) -> None:
    """Store a token as a sign-in does; it is called after its user."""
    broker_session, now = uuid4(), Clock().now()
    sealed = ring.seal(SecretStr(f"token of {user}"), token_place(broker_session))
    await rows.execute(
        "INSERT INTO users (id, created_at, signed_in_at) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING", user, now
    )
    await rows.execute("DELETE FROM broker_sessions WHERE user_id = $1", user)
    await rows.execute(
        "INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        user, broker_session, sealed.content, sealed.key_id, now, now + timedelta(hours=1),
    )  # fmt: skip


async def token_of(rows: asyncpg.Connection, user: str, ring: KeyRing = NEW) -> str:
    found = await rows.fetchrow("SELECT id, token_sealed, token_key_id FROM broker_sessions WHERE user_id = $1", user)
    sealed = Sealed(found["token_key_id"], found["token_sealed"])
    return ring.open(sealed, token_place(found["id"])).get_secret_value()


async def test_tokens_and_heads_are_sealed_anew_and_nothing_is_left_for_the_old_key_but_rows(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    users = [f"AB{number}" for number in range(5)]
    for user in users:
        await connect(rows, user)
        await write_rows(db, 2, chain=user)
    await connect(rows, "NEW1", NEW)
    told = await said("keys", "rekey", "--batch", "2", *WHY, given=given)
    assert told.splitlines() == [
        "5 tokens and 5 heads of the ledger were sealed anew with k2.",
        f"Nothing needs k1 any more but 10 rows of the ledger, which it signed: {ROWS_ALONE}",
    ]
    for user in (*users, "NEW1"):
        assert await token_of(rows, user) == f"token of {user}"
    assert await said("audit", "verify", given=given) == "The ledger is whole: 11 rows in 6 chains."
    [row] = await rows.fetch("SELECT actor, action, facts FROM ledger WHERE chain = $1", SYSTEM)
    assert (row["actor"], row["action"]) == ("Asha", "keys-rekeyed")
    assert json.loads(row["facts"]) == {"key": "k2", "tokens": 5, "heads": 5, "reason": "a drill"}
    async with db.reading() as tx:
        assert await head_key_ids(tx) == {"k2"}
    await write_rows(db, chain=users[0], ring=NEW)
    assert await said("audit", "verify", given=given) == "The ledger is whole: 12 rows in 6 chains."


async def test_a_second_run_has_nothing_to_do_and_writes_nothing(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    await connect(rows, USER)
    first, second = [json.loads(await said("keys", "rekey", "--json", given=given)) for _ in range(2)]
    unneeded = {"k1": {"tokens": 0, "heads": 0, "rows": 0}}
    assert first == {"key": "k2", "tokens": 1, "heads": 0, "unopenable": {}, "inDoubt": {}, "needs": unneeded}
    assert second == first | {"tokens": 0}
    assert (await said("keys", "rekey", given=given)).splitlines()[1:] == ["Nothing needs k1 any more."]
    assert await rows.fetchval("SELECT array_agg(actor) FROM ledger") == ["operator"]
    assert await needs(db) == {"k2": Need(1, 1, 1)}


async def test_a_sign_in_under_way_is_not_waited_for_and_wins(
    db: Database, given: dict[str, str], rows: asyncpg.Connection, database_url: str
) -> None:
    await connect(rows, USER)
    await connect(rows, "CD5678")
    one_each = "1 token and 1 head of the ledger"
    signing_in = await asyncpg.connect(database_url)
    await write_rows(db)
    async with signing_in.transaction():
        await signing_in.execute("SELECT FROM ledger_heads WHERE chain = $1 FOR UPDATE", USER)
        await connect(signing_in, USER)
        assert (await refused("keys", "rekey", *WHY, given=given)).splitlines() == [
            "1 token and 0 heads of the ledger were sealed anew with k2.",
            f"k1 must stay in ENCRYPTION_KEYS: it sealed {one_each}; it also signed 1 row of the ledger.",
            f"{one_each} have come or were being changed meanwhile. {AGAIN}",
        ]
    stored = await signing_in.fetchval("SELECT id FROM broker_sessions WHERE user_id = $1", USER)
    await signing_in.close()
    assert (await said("keys", "rekey", *WHY, given=given)).startswith("1 token and 1 head of the ledger were sealed")
    assert await token_of(rows, USER) == f"token of {USER}"
    assert await rows.fetchval("SELECT id FROM broker_sessions WHERE user_id = $1", USER) == stored


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE broker_sessions SET id = gen_random_uuid()",
        "UPDATE broker_sessions SET token_sealed = '\\x01'",
        "UPDATE broker_sessions SET (ended_at, ended_reason, token_sealed, token_key_id) = (now(), 'x', NULL, NULL)",
        "DELETE FROM broker_sessions",
    ],
)
async def test_what_came_between_reading_and_putting_back_wins(
    db: Database, rows: asyncpg.Connection, meanwhile: str
) -> None:
    await connect(rows, USER)
    async with db.reading() as tx:
        [read] = await read_batch(tx, TOKENS, "k2", "", 10)
        await rows.execute(meanwhile)
        then = await rows.fetch("SELECT * FROM broker_sessions")
        assert await put_back(tx, TOKENS, "k2", [(read, b"sealed anew")]) == 0
    assert await rows.fetch("SELECT * FROM broker_sessions") == then


async def test_a_row_that_came_between_reading_a_head_and_putting_it_back_wins(
    db: Database, given: dict[str, str]
) -> None:
    await write_rows(db)
    async with db.reading() as tx:
        [read] = await read_batch(tx, HEADS, "k2", "", 10)
        await write_rows(db)
        assert await put_back(tx, HEADS, "k2", [(read, b"sealed anew")]) == 0
    assert await said("audit", "verify", given=given) == "The ledger is whole: 2 rows in 1 chain."


async def test_a_head_in_doubt_is_left_and_told(db: Database, given: dict[str, str], rows: asyncpg.Connection) -> None:
    """A new seal would make genuine what somebody has put there by hand."""
    await write_rows(db, 3)
    await write_rows(db, chain="CD5678")
    await by_hand(rows, f"DELETE FROM ledger WHERE chain = '{USER}' AND number = 3")
    await rows.execute("UPDATE ledger_heads SET number = 2 WHERE chain = $1", USER)
    done = await typed("keys", "rekey", "--json", given=given)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["heads"], told["inDoubt"]) == (1, {USER: "not-genuine"})
    assert told["needs"]["k1"] == {"tokens": 0, "heads": 1, "rows": 3}
    assert (await refused("keys", "rekey", given=given)).splitlines()[-1] == (
        f"1 head of the ledger can't be believed and was left: {USER} (not-genuine); see `partner audit verify`."
    )
    assert "was put there by hand" in await refused("audit", "verify", given=given)


async def test_tokens_that_no_key_opens_are_counted_and_told(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    for number in range(11):
        await connect(rows, f"AB{number:02}")
    await rows.execute("UPDATE broker_sessions SET token_key_id = 'k7' WHERE user_id = 'AB00'")
    await rows.execute("UPDATE broker_sessions SET token_sealed = '\\x00' WHERE user_id <> 'AB00'")
    await connect(rows, USER)
    *told, last = (await refused("keys", "rekey", "--batch", "3", given=given)).splitlines()
    assert told == [
        "1 token and 0 heads of the ledger were sealed anew with k2.",
        "k1 must stay in ENCRYPTION_KEYS: it sealed 10 tokens and 0 heads of the ledger.",
        "k7 must stay in ENCRYPTION_KEYS: it sealed 1 token and 0 heads of the ledger.",
    ]
    assert last.startswith("11 tokens can't be opened by any key and were left: AB00 (the ring has no key k7), AB01 (")
    assert last.endswith(" and 1 more.")
    assert await token_of(rows, USER) == f"token of {USER}"


async def test_an_expired_token_needs_no_key(db: Database, given: dict[str, str], rows: asyncpg.Connection) -> None:
    await connect(rows, USER)
    await rows.execute("UPDATE broker_sessions SET expires_at = now(), token_key_id = 'k7'")
    assert "0 tokens" in await said("keys", "rekey", given=given)
    assert await rows.fetchval("SELECT token_sealed FROM broker_sessions") is None


async def test_a_ring_without_the_key_of_a_head_does_not_start_until_the_lost_key_is_forgotten(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    both, alone = given, given | {"ENCRYPTION_KEYS": K2}
    await write_rows(db)
    await connect(rows, USER)
    await connect(rows, "CD5678")
    assert await refused("serve", "--port", "0", given=alone) == (
        "ENCRYPTION_KEYS lacks k1, by which stored tokens are sealed. "
        f"ENCRYPTION_KEYS lacks k1, by which heads of the ledger are sealed: {USER}. Add the key to ENCRYPTION_KEYS "
        "or, where nobody has it any more, give it up with `partner keys forget KEY`."
    )
    assert (await refused("keys", "forget", "k1", *WHY, given=both)).startswith("k1 is in ENCRYPTION_KEYS")
    assert await refused("keys", "forget", "k1", *WHY, given=alone) == (
        "k1 is in use by a running service; it sealed something 0 minutes ago. Is this ring the newest? "
        "Add the key to ENCRYPTION_KEYS or, if nobody has it any more, say --force."
    )
    assert await needs(db) == {"k1": Need(2, 1, 1)}
    assert await said("keys", "forget", "k1", *WHY, "--force", given=alone) == (
        "2 tokens that k1 had sealed are erased; 2 chains of the ledger went on, each with a row that says so."
    )
    assert (await refused("keys", "forget", "k1", *WHY, given=alone)).startswith("Nothing that is stored needs k1")
    assert await rows.fetchval("SELECT count(token_sealed) FROM broker_sessions WHERE ended_reason = 'expired'") == 0
    written = await rows.fetch("SELECT chain, facts FROM ledger WHERE action = 'key-forgotten' ORDER BY chain")
    facts = {"key": "k1", "reason": "a drill"}
    assert [(row["chain"], json.loads(row["facts"])) for row in written] == [
        (USER, facts | {"headBefore": "unverifiable"}), ("CD5678", facts)
    ]  # fmt: skip
    assert await needs(db) == {"k1": Need(0, 0, 1), "k2": Need(0, 2, 2)}


@pytest.mark.parametrize(("what", "chains"), [("a token", "2 chains"), ("a row", "1 chain")])
async def test_a_key_that_was_used_within_the_hour_is_forgotten_by_force_alone(
    db: Database, given: dict[str, str], rows: asyncpg.Connection, what: str, chains: str
) -> None:
    """An hour ago is long ago: who really lost a key has no service that runs with it."""
    alone = given | {"ENCRYPTION_KEYS": K2}
    await write_rows(db, chain="CD5678")
    await connect(rows, USER)
    recent = "UPDATE broker_sessions SET connected_at = now() - interval '59 minutes'"
    old = "UPDATE broker_sessions SET connected_at = now() - interval '61 minutes'"
    if what == "a row":
        recent, old = (each.replace("broker_sessions SET connected_at", "ledger SET at") for each in (recent, old))
        await rows.execute("DELETE FROM broker_sessions")
    else:
        await by_hand(rows, "UPDATE ledger SET at = now() - interval '61 minutes'")
    await by_hand(rows, recent)
    told = await refused("keys", "forget", "k1", *WHY, given=alone)
    assert told.startswith("k1 is in use by a running service; it sealed something 59 minutes ago. ")
    await by_hand(rows, old)
    assert f"; {chains} of the ledger" in await said("keys", "forget", "k1", *WHY, given=alone)


async def test_a_ring_of_yesterday_moves_nothing_back_unless_by_force(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    yesterdays = given | {"ENCRYPTION_KEYS": f"{KEY},{K2}"}
    await write_rows(db)
    await write_rows(db, chain="CD5678", ring=NEW)
    await connect(rows, USER, NEW)
    assert await refused("keys", "rekey", given=yesterdays) == (
        "Running replicas still seal with k2, 0 minutes ago, which is younger than k1: is this ring the newest? "
        "If it is, say --force."
    )
    assert await needs(db) == {"k1": Need(0, 1, 1), "k2": Need(1, 1, 1)}
    assert (await said("keys", "rekey", "--force", given=yesterdays)).startswith("1 token and 1 head of the ledger")


@pytest.mark.parametrize("promoted", [False, True], ids=["k2 has sealed nothing yet", "a replica was late"])
async def test_a_ring_that_was_promoted_is_rekeyed_at_once(
    db: Database, given: dict[str, str], rows: asyncpg.Connection, promoted: bool
) -> None:
    """The newest row may be of the old key: nobody has signed in since, or a replica was the last to be replaced."""
    await write_rows(db)
    await write_rows(db, int(promoted), chain="CD5678", ring=NEW)
    await write_rows(db)
    await connect(rows, USER)
    assert (await said("keys", "rekey", given=given)).startswith("1 token and 1 head of the ledger were sealed anew")


async def test_which_key_is_younger_is_found_part_by_part(db: Database) -> None:
    for chain, count, ring in (("CD5678", 3, OLD), (USER, 2, NEW), (SYSTEM, 2, OLD)):
        await write_rows(db, count, chain=chain, ring=ring)
    for at_once in (1, 2, 3, 100):
        assert await is_younger(db, "k2", "k1", at_once=at_once)
        assert not await is_younger(db, "k1", "k2", at_once=at_once)
        assert not await is_younger(db, "k1", "k9", at_once=at_once)
        assert await is_younger(db, "k9", "k1", at_once=at_once)


@pytest.mark.parametrize(("count", "told"), [(5, "C0, C1, C2, C3, C4. Add"), (7, "C0, C1, C2, C3, C4 and 2 more. Add")])
async def test_a_start_names_the_chains_whose_heads_it_can_not_judge(
    db: Database, given: dict[str, str], rows: asyncpg.Connection, count: int, told: str
) -> None:
    """Also where somebody has only changed the name of the key by hand."""
    for number in range(count):
        await write_rows(db, chain=f"C{number}")
    await write_rows(db, chain="WHOLE")
    await rows.execute("UPDATE ledger_heads SET key_id = 'zz' WHERE chain <> 'WHOLE'")
    sentence = await refused("serve", "--port", "0", given=given)
    assert sentence.startswith(f"ENCRYPTION_KEYS lacks zz, by which heads of the ledger are sealed: {told}")
    assert f"; {count} chains of the ledger went on" in await said("keys", "forget", "zz", *WHY, given=given)
    async with db.reading() as tx:
        assert await head_key_ids(tx) == {"k1", "k2"}


async def test_what_still_needs_a_key_is_counted_part_by_part(db: Database) -> None:
    for chain, count, ring in ((USER, 3, OLD), ("CD5678", 2, NEW), (SYSTEM, 2, OLD)):
        await write_rows(db, count, chain=chain, ring=ring)
    for at_once in (1, 2, 3, 7, 100):
        assert await needs(db, at_once=at_once) == {"k1": Need(0, 2, 5), "k2": Need(0, 1, 2)}


async def test_heads_are_sealed_anew_under_many_writers_and_none_comes_into_doubt(
    db: Database, given: dict[str, str]
) -> None:
    """Replicas of two steps write side by side, as they do while keys are changed."""
    chains = [USER, "CD5678", SYSTEM]
    await asyncio.gather(*(write_rows(db, chain=chain) for chain in chains))
    both = ring_of("k2", "k1")
    writers = [write_rows(db, 10, chain=chain, ring=ring) for chain in chains for ring in (ring_of("k1", "k2"), both)]
    rekeying = [rekey_heads(db, both, batch) for batch in (1, 2, 500)]
    await asyncio.gather(*writers, *rekeying)
    await said("keys", "rekey", given=given)
    assert set(await needs(db)) == {"k1", "k2"}
    verdict = await verify(db, both)
    assert (verdict.findings, verdict.chains) == ([], 3)


async def test_the_running_role_may_change_keys(worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    owner_url = await create_clone(f"keys_{worker}")
    owner = await asyncpg.connect(owner_url)
    role = f"partner_keys_{worker}"
    await owner.execute(f"CREATE ROLE {role} LOGIN; {grants().replace('partner_app', role)}")
    limited = opened(owner_url.replace("postgres@", f"{role}@"))
    await connect(owner, USER)
    await write_rows(limited)
    given = environment(owner_url.replace("postgres@", f"{role}@"), NOWHERE, ENCRYPTION_KEYS=f"{K2},{KEY}")
    assert (await said("keys", "rekey", given=given)).startswith("1 token and 1 head of the ledger were sealed anew")
    told = await said("keys", "forget", "k2", *WHY, "--force", given=given | {"ENCRYPTION_KEYS": KEY})
    assert told.startswith("1 token that k2 had sealed is erased; 2 chains")
    await limited.aclose()
    await owner.close()


@pytest.mark.parametrize("batch", ["0", "5001"])
async def test_a_batch_is_one_to_five_thousand(given: dict[str, str], batch: str) -> None:
    done = await typed("keys", "rekey", "--batch", batch, given=given)
    assert (done.exit_code, done.stdout) == (2, "")
