"""What the doctor says of the way to the broker, of its routes, and of the address from which we come."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from app.clock import Clock
from tests.conftest import create_clone
from tests.examining.conftest import Doctor
from tests.health.test_database_refusals import certificate
from tests.support.simulated import SimulatedBroker


@asynccontextmanager
async def answering(
    body: str = "", *, status: str = "200 OK", fields: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Give the URL of somebody who answers every request alike."""
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{fields}\r\n{body}".encode()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def test_a_broker_who_is_there_is_told_with_his_routes(doctor: Doctor) -> None:
    found = await doctor()
    assert found["broker"][0] == found["broker's clock"][0] == found["login page"][0] == "ok"
    assert found["route funds"] == ("ok", "It is there at funds-rest/funds/limits.")


async def test_a_path_that_is_another_one_is_a_warning_that_says_where_to_put_it_right(doctor: Doctor) -> None:
    wrong = json.dumps({"funds": "no/such/path", "holdings": ["no/such", "ho-rest/api/holdings/"]})
    found = await doctor(BROKER_PATHS=wrong)
    assert found["route funds"] == (
        "warning",
        "It does not seem to be at no/such/path (404 or 405): name its path in BROKER_PATHS as funds.",
    )
    told = "It is there at ho-rest/api/holdings/, not at no/such (404 or 405)."
    assert found["route holdings"] == ("ok", told)


async def test_a_page_instead_of_an_answer_is_no_route(doctor: Doctor) -> None:
    async with answering("<html>hello</html>", fields="Content-Type: text/html\r\n") as url:
        found = await doctor(BROKER_BASE_URL=url)
    assert found["broker"][0] == "ok"
    assert found["route profile"][0] == "warning"
    assert "BROKER_PATHS" in found["route profile"][1]


async def test_who_refuses_everything_alike_shows_no_route(doctor: Doctor) -> None:
    async with answering(status="401 Unauthorized") as url:
        found = await doctor(BROKER_BASE_URL=url, BROKER_PATHS=json.dumps({"funds": "no/such/thing"}))
    alike = "A path beside it that can't exist is answered alike (401)."
    assert found["route funds"] == ("warning", f"It can't be told whether it is at no/such/thing. {alike}")
    assert found["route profile"][0] == found["route orderbook"][0] == "warning"


async def test_who_says_that_too_many_calls_come_was_not_asked(doctor: Doctor) -> None:
    async with answering(status="429 Too Many Requests") as url:
        level, sentence = (await doctor(BROKER_BASE_URL=url))["route holdings"]
    assert (level, "It was not asked, for the broker says that too many calls come" in sentence) == ("warning", True)


async def test_a_broker_who_is_out_of_order_is_a_warning(doctor: Doctor) -> None:
    async with answering(status="503 Service Unavailable") as url:
        found = await doctor(BROKER_BASE_URL=url)
    assert found["broker"][0] == found["login page"][0] == found["route profile"][0] == "warning"
    assert "503" in found["broker"][1]


async def test_a_broker_who_is_not_there_is_a_failure(doctor: Doctor) -> None:
    found = await doctor(BROKER_BASE_URL="http://127.0.0.1:1/")
    level, sentence = found["broker"]
    assert (level, "Connect" in sentence or "connect" in sentence, "BROKER_BASE_URL" in sentence) == (
        "failed",
        True,
        True,
    )
    assert found["route funds"] == ("failed", "Not looked at: the broker can't be reached.")
    found = await doctor(BROKER_BASE_URL="http://no-such-host.invalid/")
    assert found["broker"][1].startswith("no-such-host.invalid can't be resolved")


async def test_a_certificate_that_nobody_vouches_for_is_a_failure(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    async with answering(tls=context) as url:
        level, sentence = (await doctor(BROKER_BASE_URL=url))["broker"]
        assert (level, "certificate is not to be trusted" in sentence) == ("failed", True)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        level, sentence = (await doctor(BROKER_BASE_URL=url))["broker"]
    assert (level, "over TLS" in sentence) == ("ok", True)


@pytest.mark.parametrize(("drift", "level"), [(0, "ok"), (-10, "warning"), (10, "warning")])
async def test_a_clock_that_drifts_from_the_brokers_is_told(doctor: Doctor, drift: int, level: str) -> None:
    theirs = format_datetime(Clock().now() + timedelta(seconds=drift), usegmt=True)
    async with answering(fields=f"Date: {theirs}\r\n") as url:
        assert (await doctor(BROKER_BASE_URL=url))["broker's clock"][0] == level
    async with answering() as url:
        assert (await doctor(BROKER_BASE_URL=url))["broker's clock"][1] == "The broker does not tell its time."


async def test_a_login_page_that_is_missing_is_a_warning(doctor: Doctor, broker: SimulatedBroker) -> None:
    found = await doctor(BROKER_LOGIN_URL=f"{broker.url}/nowhere?appcode={{app_code}}")
    assert found["login page"] == ("warning", "It answers 404: check BROKER_LOGIN_URL and BROKER_APP_CODE.")


async def test_its_calls_count_against_the_apps_limits(doctor: Doctor, worker: str, broker: SimulatedBroker) -> None:
    own = await create_clone(f"doctor_limits_{worker}")
    found = await doctor(DATABASE_URL=own, RATE_LIMITS_APP="non-trading=5/5/5/5")
    assert len(broker.received()) == 2  # two more were pages, and one is kept for cancels
    spared = [sentence for check, (_, sentence) in found.items() if "the app's limits are used up" in sentence]
    assert spared


@pytest.mark.parametrize("body", ["203.0.113.7", "203.0.113.7\n", '{"ip": "203.0.113.7"}', '{"ip":"2001:db8::7"}'])
async def test_the_address_that_somebody_outside_sees_is_compared(doctor: Doctor, body: str) -> None:
    expected = "203.0.113.7,2001:db8::/64"
    async with answering(body) as url:
        found = await doctor("--offline", EGRESS_ADDRESS_URL=url, EXPECTED_EGRESS_IPS=expected)
        assert "this machine's own" in found["egress address"][1]  # offline nobody is asked
        level, sentence = (await doctor(EGRESS_ADDRESS_URL=url, EXPECTED_EGRESS_IPS=expected))["egress address"]
        assert (level, "as 127.0.0.1 sees us" in sentence) == ("ok", True)
        other = await doctor(EGRESS_ADDRESS_URL=url, EXPECTED_EGRESS_IPS="203.0.113.8")
        assert other["egress address"][0] == "failed"
        assert "EXPECTED_EGRESS_IPS (203.0.113.8)" in other["egress address"][1]


@pytest.mark.parametrize("body", ["", "hello", '{"address": "203.0.113.7"}', '{"ip": 7', "[1]", '{"ip": ["x"]}'])
async def test_an_address_that_is_none_is_a_warning(doctor: Doctor, body: str) -> None:
    async with answering(body) as url:
        level, sentence = (await doctor(EGRESS_ADDRESS_URL=url, EXPECTED_EGRESS_IPS="203.0.113.7"))["egress address"]
    assert (level, "EGRESS_ADDRESS_URL" in sentence) == ("warning", True)


async def test_without_anybody_outside_the_machines_own_address_is_compared(doctor: Doctor) -> None:
    assert (await doctor(EXPECTED_EGRESS_IPS="127.0.0.1"))["egress address"][0] == "ok"
    level, sentence = (await doctor(EXPECTED_EGRESS_IPS="203.0.113.7"))["egress address"]
    assert level == "warning"  # behind a translation of addresses it says nothing
    assert "set EGRESS_ADDRESS_URL" in sentence


async def test_the_settings_of_the_address_are_judged(doctor: Doctor) -> None:
    for changed in ({"EGRESS_ADDRESS_URL": "http://ip.example/"}, {"EXPECTED_EGRESS_IPS": "203.0.113.700"}):
        level, sentence = (await doctor(**changed))["settings"]
        assert (level, sentence.split(":")[0]) == ("failed", next(iter(changed)))
