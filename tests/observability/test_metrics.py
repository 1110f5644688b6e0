"""What Prometheus is told: how much nobody knows, for how long, and nobody's name."""

import asyncio
import uuid

import asyncpg
import httpx
from pydantic import SecretStr

from app.metrics import UnresolvedCollector, serve_metrics
from app.settings import Settings
from tests.support.configured import configured
from workbench.children import free_port


async def write_unknown(rows: asyncpg.Connection, *, minutes: int, action: str = "PLACE", days: int = 0) -> None:
    await rows.execute(
        "INSERT INTO users (id, created_at, signed_in_at) VALUES ('AB1', now(), now()) ON CONFLICT DO NOTHING"
    )
    await rows.execute(
        "INSERT INTO intents (id, user_id, action, terms, likeness, trading_day, created_at, send_by, doubtful_at,"
        " state, is_watched, candidates) VALUES ($1, 'AB1', $2, '{}', '',"
        " (now() AT TIME ZONE 'Asia/Kolkata')::date - $3::int, now() - make_interval(mins => $4), now(), now(),"
        " 'unknown', true, '{1,2}')",
        uuid.uuid4(), action, days, minutes,
    )  # fmt: skip


def test_nothing_is_told_of_a_database_that_is_away() -> None:
    told = list(UnresolvedCollector(SecretStr("postgresql://nobody@127.0.0.1:1/x")).collect())
    assert [(each.name, each.samples[0].value) for each in told] == [("partner_database_up", 0)]


async def test_what_is_unknown_is_counted_over_all_replicas(
    database_url: str, rows: asyncpg.Connection, emptied: None
) -> None:
    for minutes in (30, 10):
        await write_unknown(rows, minutes=minutes)
    await write_unknown(rows, minutes=1500, days=1, action="CONVERT")
    port = free_port()
    server = serve_metrics("127.0.0.1", port, SecretStr(database_url))
    assert server is not None
    async with httpx.AsyncClient() as scraper:
        told = (await scraper.get(f"http://127.0.0.1:{port}/metrics")).text
    server.shutdown()
    server.server_close()
    assert "partner_database_up 1.0" in told
    assert 'partner_unknown{action="place",day="today"} 2.0' in told
    assert 'partner_unknown{action="convert",day="past"} 1.0' in told
    assert 'partner_unknown_candidates{action="place",day="today"} 4.0' in told
    [age] = [each for each in told.splitlines() if each.startswith('partner_unknown_oldest_seconds{action="place"')]
    assert 1800 <= float(age.split()[-1]) < 1900
    assert "AB1" not in told


async def test_a_port_that_is_taken_keeps_nobody_from_serving(database_url: str) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert serve_metrics("127.0.0.1", port, SecretStr(database_url)) is None
    server.close()


def test_metrics_have_a_port_by_default_and_can_be_switched_off() -> None:
    assert Settings.model_fields["metrics_port"].default == 9464
    assert configured("postgresql:///", "http://127.0.0.1:1", metrics_port=0).metrics_port == 0
