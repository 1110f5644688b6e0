"""Alive and able: what a load balancer is told, and what a caller is told while the database is away."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from app.clock import monotonic
from app.health.looking import Readiness
from app.problems import TemporarilyUnavailable
from app.schema import migrate_schema
from app.statements import Statements
from tests.conftest import create_clone
from tests.support.clock import Watch
from tests.support.configured import configured
from tests.support.investor import Browser, signed_in, slug
from tests.support.replicas import until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker
from workbench.servers import Postgres


async def test_a_sound_service_is_alive_and_able(service: Service) -> None:
    async with Browser(service) as browser:
        for path in ("/healthz", "/readyz"):
            answer = await browser.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_schema_behind_the_release_is_not_able_and_one_ahead_is(worker: str, broker: SimulatedBroker) -> None:
    url = await create_clone(f"revisions_{worker}")
    rows = await asyncpg.connect(url)
    try:
        async with serving(configured(url, broker.url)) as service, Browser(service) as browser:
            await rows.execute("UPDATE alembic_version SET version_num = '0000'")
            behind = await browser.get("/readyz")
            assert (behind.status_code, slug(behind)) == (503, "temporarily-unavailable")
            assert "partner migrate" in behind.json()["detail"]
            assert (await browser.get("/healthz")).status_code == 200
            await rows.execute("UPDATE alembic_version SET version_num = '9999'")
            assert (await browser.get("/readyz")).status_code == 200
    finally:
        await rows.close()


async def test_a_good_look_is_believed_for_a_second_and_no_longer(worker: str) -> None:
    url = await create_clone(f"looks_{worker}")
    rows, watch = await asyncpg.connect(url), Watch()
    statements = Statements.of(SecretStr(url), most=1)
    try:
        readiness = Readiness(statements, watch)
        await readiness.check()
        async with rows.transaction():
            await rows.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
            watch.time += 0.9
            await readiness.check()
            watch.time += 0.2
            began_at = monotonic()
            with pytest.raises(TemporarilyUnavailable):
                await readiness.check()
            assert monotonic() - began_at < 3, "a balancer waits no longer"
        await readiness.check()
        await rows.execute("DROP TABLE alembic_version")
        watch.time += 1.1
        with pytest.raises(TemporarilyUnavailable, match="partner migrate"):
            await readiness.check()
    finally:
        await statements.aclose()
        await rows.close()


async def test_connections_that_the_database_has_closed_are_replaced_unnoticed(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        await asyncio.gather(*(browser.get("/v1/session") for _ in range(8)))
        ended = await rows.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert ended
        assert (await browser.get("/healthz")).status_code == 200  # a turn of the loop, in which it hears of the ends
        assert [(await browser.get("/v1/session")).status_code for _ in range(8)] == [200] * 8


async def test_a_statement_whose_connection_dies_is_told_as_unavailable(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with signed_in(service, broker) as browser:
        async with rows.transaction():
            await rows.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(browser.get("/v1/session"))
            ended: list[asyncpg.Record] = []
            while not ended and not waiting.done():
                ended = await rows.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks"  # pg_stat_activity stands still in a transaction
                    " WHERE NOT granted AND relation = 'sessions'::regclass"
                )
            answer = await waiting
        assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
        assert (await browser.get("/v1/session")).status_code == 200


async def test_a_fault_of_ours_is_told_without_a_trace_and_logged_with_one(
    worker: str, broker: SimulatedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    url = await create_clone(f"faults_{worker}")
    rows = await asyncpg.connect(url)
    try:
        async with serving(configured(url, broker.url)) as service:
            broker.return_to(f"{service.url}/sso/callback")
            async with signed_in(service, broker) as browser:
                await rows.execute("ALTER TABLE sessions RENAME TO gone")
                answer = await browser.get("/v1/session", headers={"X-Request-ID": "find-me"})
                page = await browser.get("/v1/session", headers={"Accept": "text/html"})
    finally:
        await rows.close()
    assert (answer.status_code, slug(answer)) == (500, "internal-error")
    assert set(answer.json()) == {"type", "title", "status"}
    assert answer.headers["x-request-id"] == "find-me"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-type"] == "application/problem+json"
    assert "internal_error" in caplog.text
    assert "UndefinedTable" in caplog.text


def a_cluster(folder: Path) -> Postgres:
    folder.chmod(0o711)  # its server may run as somebody else
    return Postgres(folder / "pg", durable=False)


async def test_while_the_database_is_away_callers_are_told_so_and_afterwards_all_is_well(
    broker: SimulatedBroker,
) -> None:
    with tempfile.TemporaryDirectory(prefix="pg-away-") as folder:
        cluster = a_cluster(Path(folder))
        await asyncio.to_thread(cluster.__enter__)
        try:
            url = await asyncio.to_thread(cluster.create_database, "partner")
            await asyncio.to_thread(migrate_schema, SecretStr(url))
            async with serving(configured(url, broker.url)) as service:
                broker.return_to(f"{service.url}/sso/callback")
                async with signed_in(service, broker) as browser:
                    await asyncio.to_thread(cluster.__exit__, None, None, None)
                    await _is_told_as_unavailable(browser, broker)
                    await asyncio.to_thread(cluster.__enter__)
                    assert (await browser.get("/readyz")).status_code == 200
                    await until(lambda: is_read(browser))  # what has just failed is left alone for half a second
        finally:
            await asyncio.to_thread(cluster.__exit__, None, None, None)


async def is_read(browser: Browser) -> bool:
    return (await browser.get("/v1/funds")).status_code == 200


async def _is_told_as_unavailable(browser: Browser, broker: SimulatedBroker) -> None:
    asked = len(broker.received())
    assert (await browser.get("/healthz")).status_code == 200
    await browser.begin_login()
    callback = browser.come_back(broker.code_for("AB1234"))
    for answer in (await browser.get("/readyz"), await browser.get("/v1/funds"), await callback):
        assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert len(broker.received()) == asked


async def test_a_standby_that_may_only_be_read_is_told_as_unavailable(worker: str, broker: SimulatedBroker) -> None:
    url = await create_clone(f"standby_{worker}")
    rows = await asyncpg.connect(url)
    try:
        async with serving(configured(url, broker.url)) as service, Browser(service) as browser:
            broker.return_to(f"{service.url}/sso/callback")
            await rows.execute(f"ALTER DATABASE standby_{worker} SET default_transaction_read_only = on")
            await rows.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            answer = await browser.sign_in(broker)
            assert (answer.status_code, slug(answer)) == (503, "temporarily-unavailable")
            await rows.execute("SET default_transaction_read_only = off")
            await rows.execute(f"ALTER DATABASE standby_{worker} RESET default_transaction_read_only")
            assert (await browser.sign_in(broker)).status_code == 303
    finally:
        await rows.close()
