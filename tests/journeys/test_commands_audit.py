"""Halts, caps and the ledger as an operator has them: typed, told in sentences, and written down."""

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.clock import IST
from app.db import Database
from app.safeguards.audit import SYSTEM, Ledger
from app.safeguards.halts import refuse_if_halted
from tests.conftest import create_clone
from tests.support.clock import SettableClock
from tests.support.commands import refused, said, typed
from tests.support.configured import KEY, configured
from tests.support.environment import ROOT, environment
from tests.support.investor import signed_in
from tests.support.ledgers import RING, SECRETS, USER, by_hand, grants, ring_of, write_rows
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker

NOWHERE = "http://127.0.0.1:1/"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
WHY = ("--reason", "a drill", "--actor", "Asha")


async def written(rows: asyncpg.Connection) -> list[tuple[Any, ...]]:
    found = await rows.fetch("SELECT chain, actor, action, facts FROM ledger ORDER BY at")
    return [(row["chain"], row["actor"], row["action"], json.loads(row["facts"])) for row in found]


async def test_trading_is_halted_and_let_go_on(db: Database, given: dict[str, str], rows: asyncpg.Connection) -> None:
    assert await said("halt", "show", given=given) == "Nothing is halted."
    assert await said("halt", "on", "--all", *WHY, given=given) == "Trading for everybody is halted."
    stranger = f"Trading for {USER} is halted. Mind that {USER} has never signed in here."
    assert await said("halt", "on", "--user", "ab1234", *WHY, given=given) == stranger
    assert await said("halt", "on", "--all", *WHY, given=given) == "Trading for everybody was halted already."
    since = await rows.fetchval("SELECT since FROM halts WHERE scope = '*'")
    shown = (await said("halt", "show", given=given)).splitlines()
    assert (
        shown[0] == f"Trading for everybody is halted since {since.astimezone(IST):%d.%m.%Y %H:%M} IST by Asha: a drill"
    )
    assert shown[1].startswith(f"Trading for {USER} is halted since ")
    machine = json.loads(await said("halt", "show", "--json", given=given))["halts"]
    assert [(each["scope"], each["reason"], each["actor"]) for each in machine] == [
        ("*", "a drill", "Asha"),
        (USER, "a drill", "Asha"),
    ]
    lifted = await said("halt", "off", "--user", USER, *WHY, given=given)
    assert lifted == f"Trading for {USER} is no longer halted. Other halts are in force: see `partner halt show`."
    assert await said("halt", "off", "--all", *WHY, given=given) == "Trading for everybody is no longer halted."
    assert await refused("halt", "off", "--all", *WHY, given=given) == "Trading for everybody was not halted."
    facts = {"scope": "*", "reason": "a drill"}
    assert await written(rows) == [
        (SYSTEM, "Asha", "halted", facts), (USER, "Asha", "halted", facts | {"scope": USER}),
        (SYSTEM, "Asha", "halted", facts), (USER, "Asha", "halt-lifted", facts | {"scope": USER}),
        (SYSTEM, "Asha", "halt-lifted", facts),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [("halt", "on"), ("halt", "on", "--all", "--user", "AB1"), ("halt", "on", "--user", "a b"),
     ("halt", "on", "--user", "*"), ("caps", "set", "--user", "AB1"),
     ("caps", "set", "--user", "AB1", "--value", "none"),
     ("caps", "set", "--user", "AB1", "--value", "0"), ("caps", "set", "--user", "AB1", "--value", "1.00001")],
)  # fmt: skip
async def test_what_is_not_clear_is_asked_again(given: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = await typed(*arguments, *WHY, given=given)
    assert done.exit_code == 2
    assert "Invalid value" in done.stderr


@pytest.mark.parametrize("missing", ["--reason", "--actor"])
async def test_what_changes_something_needs_a_name_and_a_reason(given: dict[str, str], missing: str) -> None:
    names = {"--reason": "why", "--actor": "Asha"}
    for words in ([missing, "  "], []):
        others = [part for name, value in names.items() if name != missing for part in (name, value)]
        done = await typed("halt", "on", "--all", *others, *words, given=given)
        assert done.exit_code == 2
        assert missing in done.stderr


async def test_a_halt_returns_only_when_older_decisions_are_over(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    async with db.transaction() as tx:
        await Ledger(RING).lock(tx, USER)
        await refuse_if_halted(tx, USER)
        halting = asyncio.create_task(said("halt", "on", "--all", *WHY, given=given))
        while await rows.fetchval(WAITING) == 0 and not halting.done():  # noqa: ASYNC110  # another thread does it
            await asyncio.sleep(0.05)
        assert not halting.done()
    assert await halting == "Trading for everybody is halted."


async def test_a_halt_that_could_not_wait_says_so(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    async with db.transaction() as tx:
        await refuse_if_halted(tx, USER)
        hasty = given | {"DATABASE_URL": f"{given['DATABASE_URL']}&lock_timeout=200"}
        told = await refused("halt", "on", "--all", *WHY, given=hasty)
        assert told.startswith("Trading for everybody is halted, but orders accepted before may still go out")
        told_of_block = await refused("users", "block", "--user", USER, *WHY, given=hasty)
    assert told_of_block.startswith(f"{USER} is blocked, but orders accepted before may still go out")
    assert await rows.fetchval("SELECT count(*) FROM halts") == 1
    assert await rows.fetchval("SELECT count(*) FROM blocks") == 1


async def test_caps_are_set_shown_and_cleared(db: Database, given: dict[str, str], rows: asyncpg.Connection) -> None:
    capped = given | {"ORDER_VALUE_CAP": "50000"}
    await rows.execute("INSERT INTO users (id, created_at, signed_in_at) VALUES ($1, now(), now())", USER)
    assert await said("caps", "show", given=given) == "Everybody may place any number of orders a day of any size."
    told = await said("caps", "set", "--user", USER, "--quantity", "10", "--value", "1e3", *WHY, given=given)
    assert told == f"{USER} may now place any number of orders a day, each of at most 10 units and 1000 rupees."
    told = await said("caps", "set", "--user", USER, "--orders-per-day", "5", *WHY, given=given)
    assert told == f"{USER} may now place 5 orders a day, each of at most 10 units and 1000 rupees."
    assert (await said("caps", "show", given=capped)).splitlines() == [
        "Everybody else may place any number of orders a day, each of at most 50000 rupees.",
        f"{USER} may place 5 orders a day, each of at most 10 units and 1000 rupees.",
    ]
    assert json.loads(await said("caps", "show", "--user", "cd5678", "--json", given=capped)) == {
        "caps": [{"user": "CD5678", "quantity": None, "value": "50000", "ordersPerDay": None}]
    }
    told = await said("caps", "clear", "--user", USER, *WHY, given=capped)
    assert told == f"{USER} may now place any number of orders a day, each of at most 50000 rupees, as everybody."
    assert await refused("caps", "clear", "--user", USER, *WHY, given=capped) == f"{USER} has no caps of his own."
    caps = {"quantity": 10, "value": "1000", "ordersPerDay": None, "reason": "a drill"}
    assert await written(rows) == [
        (USER, "Asha", "caps-set", caps), (USER, "Asha", "caps-set", caps | {"ordersPerDay": 5}),
        (USER, "Asha", "caps-cleared", {"reason": "a drill"}),
    ]  # fmt: skip


async def test_a_whole_ledger_is_said_to_be_whole_and_a_broken_one_is_named(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    await write_rows(db, 3)
    await write_rows(db, 2, chain=SYSTEM)
    assert await said("audit", "verify", given=given) == "The ledger is whole: 5 rows in 2 chains."
    assert json.loads(await said("audit", "verify", "--json", given=given)) == {"rows": 5, "chains": 2, "findings": []}
    await by_hand(rows, f"UPDATE ledger SET actor = 'x' WHERE chain = '{USER}' AND number = 2")
    assert (await refused("audit", "verify", given=given)).splitlines() == [
        f"{USER}: row 2 is not as it was written.", "The ledger is not whole: 1 finding in 5 rows in 2 chains."
    ]  # fmt: skip
    done = await typed("audit", "verify", "--json", given=given)
    assert done.exit_code == 1
    [finding] = json.loads(done.stdout)["findings"]
    assert (finding["chain"], finding["number"], finding["kind"]) == (USER, 2, "tampered")


async def test_a_key_that_is_gone_makes_the_ledger_unverifiable(db: Database, given: dict[str, str]) -> None:
    await write_rows(db, ring=ring_of("k2"))
    assert "row 1 can't be verified: it is signed by k2, which" in await refused("audit", "verify", given=given)
    both = given | {"ENCRYPTION_KEYS": f"{KEY},k2:{base64.b64encode(SECRETS['k2']).decode()}"}
    assert await said("audit", "verify", given=both) == "The ledger is whole: 1 row in 1 chain."


async def test_a_ledger_set_back_is_found_by_an_export_or_by_the_log(
    db: Database, given: dict[str, str], rows: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_rows(db, 2)
    older = await rows.fetchrow("SELECT * FROM ledger_heads")
    await write_rows(db, 2)
    export, log = tmp_path / "export.jsonl", tmp_path / "service.log"
    told = await said(
        "audit", "export", "--from", "2020-01-01", "--to", "9999-12-31", "--output", str(export), given=given
    )
    assert told == f"{export} has 4 rows and 1 head."
    head = json.loads(export.read_text("utf-8").splitlines()[-1])["head"]
    log.write_text(json.dumps({"event": "started"}) + "\n" + json.dumps({"event": "ledger_head", **head}) + "\n")
    for recorded in (export, log):
        told = await said("audit", "verify", "--heads", str(recorded), given=given)
        assert told == "The ledger is whole: 4 rows in 1 chain, and 1 head recorded outside found in it."
    await by_hand(rows, "DELETE FROM ledger WHERE number > 2")
    await by_hand(rows, "DELETE FROM ledger_heads")
    await rows.execute("INSERT INTO ledger_heads VALUES ($1, $2, $3, $4, $5)", *older)
    assert await said("audit", "verify", given=given) == "The ledger is whole: 2 rows in 1 chain."
    for recorded in (export, log):
        found = await refused("audit", "verify", "--heads", str(recorded), given=given)
        assert f"{USER}: the chain ends with row 2; a head recorded outside says that there were 4 rows." in found


async def test_an_export_holds_indian_days_and_exact_times(
    db: Database, given: dict[str, str], rows: asyncpg.Connection
) -> None:
    await write_rows(db, 3)
    for number, at in enumerate(("2026-11-22T18:29:59", "2026-11-22T18:30:00", "2026-11-23T18:29:59"), start=1):
        await by_hand(rows, f"UPDATE ledger SET at = '{at}Z' WHERE number = {number}")

    async def numbers(since: str, until: str) -> list[int]:
        lines = (await said("audit", "export", "--from", since, "--to", until, given=given)).splitlines()
        assert json.loads(lines[-1])["head"]["number"] == 3
        return [json.loads(line)["number"] for line in lines[:-1]]

    assert await numbers("2026-11-23", "2026-11-23") == [2, 3]
    assert await numbers("2026-11-22", "2026-11-22") == [1]
    assert await numbers("2026-11-23T00:00:00", "2026-11-23T23:59:59") == [2]
    assert await numbers("2026-11-22T18:29:59Z", "2026-11-23T18:30:00+00:00") == [1, 2, 3]


async def test_an_export_that_can_not_be_made_says_why(given: dict[str, str], tmp_path: Path) -> None:
    days = ("audit", "export", "--from", "2026-11-23", "--to", "2026-11-23", "--output")
    there = tmp_path / "there"
    there.touch()
    assert await refused(*days, str(there), given=given) == f"{there} is there already; an export overwrites nothing."
    nowhere = tmp_path / "no" / "where"
    assert await refused(*days, str(nowhere), given=given) == f"{nowhere} can't be written: No such file or directory."
    for since, until in (("yesterday", "2026-11-23"), ("2026-11-23", "2026-11-22")):
        done = await typed("audit", "export", "--from", since, "--to", until, given=given)
        assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
async def test_a_full_disk_is_not_taken_for_a_database_that_is_gone(db: Database, given: dict[str, str]) -> None:
    await write_rows(db)
    export = [sys.executable, "-m", "app", "audit", "export", "--from", "2020-01-01", "--to", "2099-01-01"]
    with Path("/dev/full").open("w") as full:  # noqa: ASYNC230  # it opens at once
        done = await asyncio.to_thread(
            subprocess.run,
            export,
            env=given | {"PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode != 0  # 120: Python tries once more to get rid of what it holds
    assert done.stderr.startswith(b"The export can't be written: No space left on device.\n")


async def test_recorded_heads_that_can_not_be_read_prove_nothing(given: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "heads"
    assert (
        await refused("audit", "verify", "--heads", str(file), given=given)
        == f"{file} can't be read: No such file or directory."
    )
    file.write_bytes(b"\xff")
    assert (
        await refused("audit", "verify", "--heads", str(file), given=given) == f"{file} can't be read: it is no text."
    )
    file.write_text("{}\n")
    assert await refused("audit", "verify", "--heads", str(file), given=given) == f"{file}: There is no head in it."


async def test_a_database_that_is_not_ready_is_said_in_one_sentence(worker: str) -> None:
    fresh = environment(await create_clone(f"unmigrated_{worker}", template=None), NOWHERE)
    assert (await refused("audit", "verify", given=fresh)).endswith("run `partner migrate` first.")
    nowhere = environment("postgresql://127.0.0.1:1/none", NOWHERE)
    for command in (["audit", "verify"], ["halt", "show"], ["caps", "show"], ["halt", "on", "--all", *WHY]):
        assert await refused(*command, given=nowhere) == "The database can't be reached. Check DATABASE_URL."


async def test_a_role_that_may_only_add_to_the_ledger_is_enough_for_the_service(
    worker: str, broker: SimulatedBroker, clock: SettableClock
) -> None:
    clock.reset()
    owner_url = await create_clone(f"roles_{worker}")
    owner = await asyncpg.connect(owner_url)
    role = f"partner_app_{worker}"
    await owner.execute(f"CREATE ROLE {role} LOGIN")
    statements = grants().replace("partner_app", role)
    for _ in range(2):
        await owner.execute(statements)
    url = owner_url.replace("postgres@", f"{role}@")
    async with serving(configured(url, broker.url), clock) as service, signed_in(service, broker) as browser:
        assert (await browser.get("/v1/funds")).status_code == 200
        assert (await browser.delete("/v1/session")).status_code == 204
    given = environment(url, NOWHERE)
    assert await said("halt", "on", "--user", USER, *WHY, given=given) == f"Trading for {USER} is halted."
    await said("halt", "off", "--user", USER, *WHY, given=given)
    await said("caps", "set", "--user", USER, "--quantity", "5", *WHY, given=given)
    await said("caps", "clear", "--user", USER, *WHY, given=given)
    assert await said("audit", "verify", given=given) == "The ledger is whole: 6 rows in 1 chain."
    assert (
        len((await said("audit", "export", "--from", "2020-01-01", "--to", "2099-01-01", given=given)).splitlines())
        == 7
    )
    limited = await asyncpg.connect(url)
    for statement in (
        "UPDATE ledger SET actor = 'x'", "DELETE FROM ledger", "TRUNCATE ledger", "DELETE FROM ledger_heads",
        "ALTER TABLE ledger DISABLE TRIGGER ALL", "SET session_replication_role = replica",
        "DELETE FROM alembic_version",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await limited.execute(statement)
    await limited.close()
    await owner.close()
