"""`partner doctor` as a whole: a line each, a code, no order, and an end in time whatever is dead."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.clock import monotonic
from tests.examining.conftest import Doctor
from tests.support.commands import typed
from tests.support.environment import environment
from tests.support.production import FRONTEND, PUBLIC
from tests.support.simulated import SimulatedBroker

ROUTES = ["orderbook", "tradebook", "profile", "funds", "holdings", "positions"]
CHECKS = {
    "settings", "database", "direct connection", "rights", "schema", "keys", "clock", "store of permits", "broker",
    "broker's clock", "login page", "egress address", *(f"route {name}" for name in ROUTES),
}  # fmt: skip
OUTSIDE = {"broker", "broker's clock", "login page", *(f"route {name}" for name in ROUTES)}


async def test_where_all_is_well_each_check_has_its_line(doctor: Doctor, running_role: str) -> None:
    found = await doctor(DATABASE_URL=running_role, EXPECTED_EGRESS_IPS="127.0.0.0/8")
    assert found.keys() == CHECKS
    assert {check for check, (level, _) in found.items() if level != "ok"} == {"settings"}
    assert found["settings"][0] == "warning"  # of a laptop


async def test_a_person_reads_a_line_for_each(clone: str, broker: SimulatedBroker) -> None:
    done = await typed("doctor", given=environment(clone, f"{broker.url}/"))
    lines = done.stdout.splitlines()
    assert len(lines) == len(CHECKS)
    assert [line for line in lines if not line.startswith(("ok      ", "warning ", "failed  "))] == []
    assert done.exit_code == 0  # a superuser's rights are a warning


async def test_it_places_nothing_and_shows_no_token(doctor: Doctor, broker: SimulatedBroker) -> None:
    await doctor()
    seen = broker.received()
    assert seen
    assert {each["call"] for each in seen} & {"place", "modify", "cancel", "convert", "margin", "exchange"} == set()
    assert [each for each in seen if "authorization" in each["headers"]] == []
    assert {each["method"] for each in seen} == {"GET"}


async def test_offline_nothing_is_asked_outside(doctor: Doctor, broker: SimulatedBroker) -> None:
    found = await doctor("--offline", EGRESS_ADDRESS_URL="http://127.0.0.1:1/")
    assert found.keys() == CHECKS - OUTSIDE
    assert broker.received() == []


async def test_settings_that_can_not_be_used_are_its_only_lines(doctor: Doctor) -> None:
    found = await doctor(DATABASE_URL="mysql://u:hunter2@h/d")
    assert found == {"settings": ("failed", "DATABASE_URL: must begin with postgresql://")}
    assert "BROKER_PATHS: no such call: fnds" in (await doctor(BROKER_PATHS='{"fnds": "x"}'))["settings"][1]
    refused = (await doctor(APP_ENV="production"))["settings"]
    assert refused[0] == "failed"
    assert "BROKER_API_SECRET is a placeholder" in refused[1]


async def test_settings_of_production_are_told_as_such(doctor: Doctor, running_role: str) -> None:
    given = {
        "APP_ENV": "production", "DATABASE_URL": running_role, "PUBLIC_BASE_URL": PUBLIC, "FRONTEND_ORIGINS": FRONTEND,
        "DEFAULT_RETURN_URL": FRONTEND, "BROKER_APP_CODE": "QX7PLM", "BROKER_API_SECRET": "gR8vKq2ZtW5n",
        "ENCRYPTION_KEYS": "k1:ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=", "ALLOW_HTTP_BROKER_ON_LOOPBACK": "true",
    }  # fmt: skip
    found = await doctor(**given)
    assert found["settings"] == ("ok", "They are readable and fit for production.")
    assert found["egress address"][0] == "warning"
    assert "EXPECTED_EGRESS_IPS" in found["egress address"][1]
    assert "25 s to end" in (await doctor(**given, BROKER_ORDER_DEADLINE="20"))["settings"][1]


@pytest.fixture
def silent() -> Iterator[int]:
    """Give a port behind which somebody takes connections and never says a word."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


async def test_a_name_service_that_is_away_holds_nobody_up(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    is_back, look = threading.Event(), socket.getaddrinfo

    def hanging(host: str, *arguments: Any, **named: Any) -> Any:
        if host == "broker.example":
            is_back.wait(60)
        return look(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)  # the system's, which no test can take away otherwise
    began_at = monotonic()
    found = await doctor(BROKER_BASE_URL="http://broker.example/")
    is_back.set()
    assert monotonic() - began_at < 20
    assert found["broker"][0] == "failed"
    assert "broker.example can't be resolved: the name service does not answer." in found["broker"][1]
    assert found["database"][0] == "ok"


async def test_it_ends_in_time_where_everything_hangs(doctor: Doctor, silent: int) -> None:
    began_at = monotonic()
    found = await doctor(
        DATABASE_URL=f"postgresql://u@127.0.0.1:{silent}/d", RATE_LIMIT_URL=f"redis://127.0.0.1:{silent}",
        BROKER_BASE_URL=f"http://127.0.0.1:{silent}/", EGRESS_ADDRESS_URL=f"http://127.0.0.1:{silent}/",
        RATE_LIMITS_APP="non-trading=10/100/1000/10000",
    )  # fmt: skip
    assert monotonic() - began_at < 20
    assert {check for check, (level, _) in found.items() if level == "failed"} == CHECKS - {
        "settings", "login page", "egress address",
    }  # fmt: skip
    assert found["database"][1] == "The database can't be reached: it did not answer in time. Check DATABASE_URL."
    assert found["login page"][0] == found["egress address"][0] == "warning"
