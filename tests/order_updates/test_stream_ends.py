"""How a stream ends: soon after its session does, with a reason, and so that a browser knows whether to come back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from app.clock import IST, monotonic
from tests.support.clock import SettableClock
from tests.support.commands import said
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.investor import slug
from tests.support.processes import process
from tests.support.replicas import PUBLIC, Replicas, Trader, replicated, trading
from tests.support.simulated import SimulatedBroker
from tests.support.streams import PATH, listening

SOON = 2.0  # seconds: the one that is promised, and one for a slow machine


async def test_log_out_ends_it_on_the_other_replica(replicas: Replicas, asha: Trader) -> None:
    async with listening(asha, replicas.second) as stream:
        assert (await asha.delete("/v1/session")).status_code == 204
        assert await stream.ended(SOON) == "signed-out"
    assert slug(await asha.get(PATH)) == "not-signed-in"


async def test_log_out_everywhere_ends_every_device_and_nobody_elses(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    broker.add_investor("ZZ9999")
    async with (
        trading(replicas.second, broker) as at_home,
        trading(replicas.first, broker, "ZZ9999") as zoya,
        listening(asha, replicas.second) as one,
        listening(at_home, replicas.first) as other,
        listening(zoya, replicas.first) as hers,
    ):
        assert (await asha.delete("/v1/sessions")).status_code == 204
        assert await one.ended(SOON) == await other.ended(SOON) == "signed-out"
        await hers.beaten(1)
        assert not hers.is_over


async def test_one_device_that_is_sent_away_takes_no_other_with_it(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    async with trading(replicas.second, broker) as phone, listening(phone) as lost, listening(asha) as kept:
        devices = (await asha.get("/v1/sessions")).json()["sessions"]
        [other] = [each["id"] for each in devices if not each["current"]]
        assert (await asha.delete(f"/v1/sessions/{other}")).status_code == 204
        assert await lost.ended(SOON) == "signed-out"
        await kept.beaten(1)
        assert not kept.is_over


async def test_a_session_that_ends_without_any_notice_ends_it_too(replicas: Replicas, asha: Trader) -> None:
    """Somebody writes into the database by hand; or the notice was lost."""
    async with listening(asha) as stream:
        await replicas.store.rows.execute("UPDATE sessions SET ended_at = now(), ended_reason = 'logged-out'")
        assert await stream.ended(SOON) == "signed-out"


async def test_a_block_ends_it_with_its_own_reason(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = environment(replicas.database_url, broker.url)
    async with listening(asha, replicas.second) as stream:
        await said("users", "block", "--user", "AB1234", "--actor", "Asha", "--reason", "asked for", given=given)
        assert await stream.ended(SOON) == "user-blocked"
    assert slug(await asha.get(PATH)) == "user-blocked"


async def test_a_dead_broker_session_ends_it_and_the_next_is_refused_until_he_signs_in(
    replicas: Replicas, broker: SimulatedBroker, asha: Trader
) -> None:
    async with listening(asha, replicas.second) as stream:
        broker.expire()
        assert slug(await asha.get("/v1/funds")) == "broker-session-expired"
        assert await stream.ended(SOON) == "broker-session-expired"
    refusal = await asha.get(PATH)
    assert slug(refusal) == "broker-session-expired"
    assert refusal.json()["loginUrl"].endswith("/sso/login")
    assert (await asha.get("/v1/order-events")).status_code == 200
    await asha.sign_in(broker)
    async with listening(asha):
        pass


@pytest.fixture(scope="module")
async def hurried(
    updates_database: str, simulator_process: SimulatedBroker, hours: SettableClock
) -> AsyncIterator[Replicas]:
    """Give replicas with a clock of their own, streams of three seconds, and few places."""
    async with replicated(
        updates_database, simulator_process.url, bystanders=0, clock=hours, order_stream_life="3",
        order_stream_heartbeat="30", order_streams_per_process="8",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def hours() -> SettableClock:
    return SettableClock()


async def test_listening_keeps_nobody_signed_in(
    replicas: Replicas, hurried: Replicas, broker: SimulatedBroker, hours: SettableClock
) -> None:
    hours.set(_at("11:00"))  # far from the hours at which the broker logs everybody out
    async with trading(hurried.first, broker) as asha:
        before = (await asha.get("/v1/session")).json()["idleExpiresAt"]
        hours.advance(timedelta(minutes=29))
        async with listening(asha) as stream:
            known = (await asha.get("/v1/session", headers={"X-Background": "true"})).json()["idleExpiresAt"]
            assert known == before
            hours.advance(timedelta(minutes=2))
            assert await stream.ended(SOON) == "session-expired"
        assert slug(await asha.get(PATH)) == "session-expired"
    hours.reset()


async def test_the_brokers_cut_off_ends_it(
    replicas: Replicas, hurried: Replicas, broker: SimulatedBroker, hours: SettableClock
) -> None:
    hours.set(_at("23:55"))
    async with trading(hurried.first, broker) as asha, listening(asha) as stream:
        hours.advance(timedelta(minutes=6))
        assert await stream.ended(SOON) == "broker-session-expired"
    hours.reset()


async def test_it_ends_politely_when_its_time_is_over(
    replicas: Replicas, hurried: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(hurried.first, broker) as asha, listening(asha) as stream:
        began_at = monotonic()
        assert await stream.ended(within=6) == "reconnect"
        assert 2.5 < monotonic() - began_at < 4.5
        async with listening(asha, last_id=stream.last_id):
            pass


async def test_one_user_has_a_quarter_of_the_places(
    replicas: Replicas, hurried: Replicas, broker: SimulatedBroker
) -> None:
    async with trading(hurried.first, broker) as asha:
        async with listening(asha), listening(asha):
            refusal = await asha.get(PATH)
            assert slug(refusal) == "temporarily-unavailable"
            assert refusal.headers["Retry-After"] == "5"
            async with listening(asha, hurried.second):
                pass
        async with listening(asha):
            pass


async def test_a_replica_that_ends_tells_its_listeners_and_is_gone_soon(
    replicas: Replicas, broker: SimulatedBroker, tmp_path: Path
) -> None:
    settings = configured(replicas.database_url, broker.url, PUBLIC)
    async with process(settings, tmp_path / "log", grace=15) as leaving, trading(replicas.first, broker) as asha:
        async with listening(asha, leaving.service) as stream:
            began_at = monotonic()
            leaving.ask_to_end()
            assert await stream.ended(5) == "reconnect"
        await asyncio.to_thread(leaving.wait_for_end)
        assert monotonic() - began_at < 5
        assert "Traceback" not in leaving.written()


async def test_another_site_opens_no_stream(asha: Trader) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert slug(await asha.get(PATH, headers=headers)) == "cross-site-request"


def _at(wall_clock: str) -> datetime:
    """Return the moment of today at which an Indian clock shows this."""
    today = SettableClock().now().astimezone(IST).date()
    return datetime.combine(today, time.fromisoformat(wall_clock), IST)
