"""The broker's daily log-outs, by Indian wall clock, on two replicas and whatever the host's own time zone."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from datetime import time as wall_time

import pytest
from pydantic import SecretStr

from app.clock import IST
from app.sessions.lifetimes import broker_session_end
from tests.conftest import create_clone, empty
from tests.support.clock import SettableClock
from tests.support.investor import slug
from tests.support.replicas import Replicas, replicated, trading
from tests.support.simulated import SimulatedBroker

CUT_OFFS = (wall_time(0), wall_time(6))
LONG = {"session_idle_timeout": "P1D", "session_absolute_timeout": "P2D"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the host into another time zone, with daylight saving or without."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("given", "dies"),
    [("2026-11-23T23:58:59", "2026-11-24T00:00:00"), ("2026-11-23T23:59:59.999999", "2026-11-24T00:00:00"),
     ("2026-11-24T00:00:00", "2026-11-24T06:00:00"), ("2026-11-24T05:59:00", "2026-11-24T06:00:00"),
     ("2026-11-24T06:00:00", "2026-11-25T00:00:00"), ("2026-03-08T02:30:00", "2026-03-08T06:00:00"),
     ("2026-11-01T23:59:00", "2026-11-02T00:00:00")],
)  # fmt: skip
def test_a_token_dies_at_the_next_cut_off(host: None, given: str, dies: str) -> None:
    end = broker_session_end(at(given).astimezone(UTC), SecretStr("opaque"), CUT_OFFS)
    assert end == at(dies)


@pytest.fixture
async def replicas(worker: str, broker: SimulatedBroker, clock: SettableClock) -> AsyncIterator[Replicas]:
    clock.reset()
    url = await create_clone(f"cutoffs_{worker}_{time.monotonic_ns()}")
    async with replicated(url, broker.url, bystanders=0, clock=clock, **LONG) as running:
        yield running
    await empty(url)
    clock.reset()


@pytest.mark.parametrize(
    ("signed_in_at", "ends_at"),
    [("2026-11-23T23:59:00", "2026-11-24T00:00:00"), ("2026-11-24T00:00:00", "2026-11-24T06:00:00"),
     ("2026-11-24T05:59:00", "2026-11-24T06:00:00")],
)  # fmt: skip
async def test_both_replicas_stop_asking_at_the_cut_off_and_one_sign_in_repairs_both(
    replicas: Replicas, broker: SimulatedBroker, clock: SettableClock, signed_in_at: str, ends_at: str
) -> None:
    clock.set(at(signed_in_at))
    async with trading(replicas.first, broker) as desk, trading(replicas.second, broker) as phone:
        clock.set(at(ends_at) - timedelta(seconds=15))
        for replica in replicas.both:
            assert (await desk.get(f"{replica.url}/v1/funds")).status_code == 200
        clock.set(at(ends_at))
        asked = len(broker.received())
        for device in (desk, phone):
            for replica in replicas.both:
                answer = await device.get(f"{replica.url}/v1/funds")
                assert (answer.status_code, slug(answer)) == (401, "broker-session-expired")
                told = (await device.get(f"{replica.url}/v1/session")).json()["broker"]
                assert (told["connected"], told["reason"]) == (False, "expired")
        placed = await desk.place()
        assert (placed.status_code, slug(placed)) == (401, "broker-session-expired")
        assert len(broker.received()) == asked, "nothing goes out with a token whose time is over"
        await phone.sign_in(broker)
        for device in (desk, phone):
            for replica in replicas.both:
                assert (await device.get(f"{replica.url}/v1/funds")).status_code == 200
