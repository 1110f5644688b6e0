"""What nobody but the investor may read: in no log line, no metric and no address that we give out, after a whole day.

A user's id stands in the log, so that what is told there can be looked into; nowhere else.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest

from app.observability import configure_logging
from tests.conftest import create_clone
from tests.support.configured import API_SECRET, KEY, configured
from tests.support.investor import Browser
from tests.support.replicas import CONVERSION, ORDER, Store, fresh_key
from tests.support.scraped import scraped
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

USER = "AB1234"
ADDRESS, AGENT = "203.0.113.77", "Mozilla/5.0 (X11; PrivacyPhone 7.3)"
SOMEBODY_ELSE = "ravi.kumar@mail.example"  # as a caller may send what nobody asked for
READS = ("session", "profile", "funds", "holdings", "positions", "orders", "trades", "placements", "rate-limits")
FAULTS = ("http500", "html200", "truncatedJson", "reset")


@dataclass
class Day:
    """What one investor's day has brought: every answer, and every word that is his or the broker's alone."""

    answers: list[httpx.Response] = field(default_factory=list)
    personal: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=lambda: {API_SECRET, KEY.partition(":")[2]})

    def given_out(self) -> Iterator[str]:
        """Yield every address in every answer: in its headers, and wherever one stands in its content."""
        for answer in self.answers:
            yield from (text for name, text in answer.headers.items() if name in {"location", "link", "refresh"})
            yield from re.findall(r"https?://[^\s\"'<>\\]+|(?:href|action|src)=\"[^\"]*", answer.text)

    @property
    def private(self) -> set[str]:
        return self.personal | self.secrets


async def a_day(service: Service, broker: SimulatedBroker, rows: asyncpg.Connection) -> Day:
    """Let an investor sign in, read, trade, fail at everything that can fail, and log out."""
    day = Day(personal={ADDRESS, AGENT, SOMEBODY_ELSE})

    async def note(answer: httpx.Response) -> None:
        await answer.aread()
        day.answers.append(answer)
        for cookie in answer.headers.get_list("set-cookie"):
            day.secrets.add(cookie.partition("=")[2].partition(";")[0].strip('"'))

    async with Browser(service) as asha:
        asha.event_hooks["response"] = [note]
        asha.headers.update({"User-Agent": AGENT, "X-Forwarded-For": ADDRESS})
        await _fail_to_sign_in(asha, broker, day)
        await asha.begin_login(f"{service.url}/portal/?tab=funds")
        code = broker.code_for(USER)
        day.secrets.add(code["authCode"])
        assert (await asha.come_back(code)).status_code == 303
        await asha.come_back(code)
        for each in READS:
            assert (await asha.get(f"/v1/{each}")).status_code == 200
        _remember_the_person(day, (await asha.get("/v1/profile")).json())
        await _trade(asha, broker)
        await _fail(asha, broker)
        await _find_us_broken(asha, rows)
        broker.expire()
        assert (await asha.get("/v1/funds")).status_code == 401
        assert (await asha.delete("/v1/session")).status_code == 204
        assert (await asha.get("/v1/session")).status_code == 401
    for request in broker.received():
        day.secrets.add(request["headers"].get("authorization", "").removeprefix("Bearer "))
        day.secrets |= set(re.findall(r'"checkSum": ?"(\w+)"', json.dumps(request["body"])))
    day.secrets.discard("")
    return day


async def _fail_to_sign_in(asha: Browser, broker: SimulatedBroker, day: Day) -> None:
    """Come back without an attempt, with a code that the broker refuses, and to a broker that is broken."""
    for fault in (None, *FAULTS):
        await asha.begin_login()
        code = broker.code_for(USER)
        if fault:
            broker.break_call("exchange", fault)
        else:
            code["authCode"] = "NEVERGIVENTOANYBODY0"
        day.secrets.add(code["authCode"])
        assert (await asha.come_back(code, Accept="text/html" if fault == "reset" else "*/*")).status_code >= 400
        broker.mend()
    asha.cookies.clear()
    assert (await asha.come_back(code)).status_code == 400


def _remember_the_person(day: Day, profile: dict[str, Any]) -> None:
    kept = (profile["name"], profile["email"], profile["mobile"], profile["pan"], *profile["depositoryAccounts"])
    assert all("*" not in each for each in kept)
    day.personal |= {*kept, profile["name"].split()[1], "12 Marine Lines"}


async def _trade(asha: Browser, broker: SimulatedBroker) -> None:
    """Place, modify, cancel and convert; with an outcome of each kind."""
    keyed = {"Idempotency-Key": fresh_key()}
    placed = await asha.post("/v1/orders", json=ORDER, headers=keyed)
    assert placed.status_code == 201, placed.text
    await asha.post("/v1/orders", json=ORDER, headers=keyed)
    number = placed.json()["orders"][0]["orderNo"]
    await asha.patch(f"/v1/orders/{number}", json={"price": "14.05"}, headers={"Idempotency-Key": fresh_key()})
    await asha.get(f"/v1/orders/{number}")
    await asha.delete(f"/v1/orders/{number}")
    await asha.post("/v1/orders/margin", json=ORDER)
    await asha.post("/v1/positions/convert", json=CONVERSION, headers={"Idempotency-Key": fresh_key()})
    for fault in FAULTS:
        broker.break_call("place", fault)
        answer = await asha.post(
            "/v1/orders", json=ORDER | {"allowDuplicate": True}, headers={"Idempotency-Key": fresh_key()}
        )
        assert answer.status_code in {202, 422}, answer.text
        broker.mend()
    await asha.delete("/v1/orders")


async def _fail(asha: Browser, broker: SimulatedBroker) -> None:
    """Read from a broken broker, and send what nobody asked for wherever one can put it."""
    for fault in FAULTS:
        broker.break_call("*", fault)
        for each in ("profile", "funds", "orders"):
            await asha.get(f"/v1/{each}", headers={"Cache-Control": "no-cache"})
        broker.mend()
    for path in (f"/v1/orders/{SOMEBODY_ELSE}", f"/v1/{SOMEBODY_ELSE}", f"/v1/placements?cursor={SOMEBODY_ELSE}"):
        assert (await asha.get(path)).status_code >= 400
    assert (await asha.get("/sso/login", params={"return_to": f"https://x.example/{SOMEBODY_ELSE}"})).status_code >= 400
    stray = ORDER | {SOMEBODY_ELSE: SOMEBODY_ELSE}
    assert (await asha.post("/v1/orders", json=stray, headers={"Idempotency-Key": SOMEBODY_ELSE})).status_code == 422


async def _find_us_broken(asha: Browser, rows: asyncpg.Connection) -> None:
    """Meet a fault of ours, which goes into the log with a trace."""
    await rows.execute("ALTER TABLE sessions RENAME TO gone")
    while (await asha.get("/v1/session")).status_code != 500:  # noqa: ASYNC110  # it may be remembered for a second
        await asyncio.sleep(0.1)
    await rows.execute("ALTER TABLE gone RENAME TO sessions")


def found(private: set[str], text: str) -> set[str]:
    return {each for each in private if each.lower() in text.lower()}


async def test_nothing_personal_leaves_by_log_metrics_or_address(
    worker: str, broker: SimulatedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="DEBUG", log_format="json")
    url = await create_clone(f"private_{worker}")  # its tables are broken on the way
    settings = configured(url, broker.url, trusted_proxies="127.0.0.0/8", profile_unmasked=True)
    async with Store.open(url) as store:
        async with serving(settings) as service:
            broker.return_to(f"{service.url}/sso/callback")
            day = await a_day(service, broker, store.rows)
        await _is_kept_nowhere(store.rows, day)
    ours = [line for line in capsys.readouterr().out.splitlines() if '"logger": "http' not in line]  # the browser's own
    assert len(day.answers) > 40
    assert {401, 404, 422, 500} < {each.status_code for each in day.answers}
    assert len(ours) > 100
    for expected in ("internal_error", "sign_in_failed", USER):
        assert any(expected in line for line in ours), expected
    assert [line for line in ours if found(day.private, line)] == []
    addresses = list(day.given_out())
    for expected in ("/sso/login", "/v1/placements/", "/portal/?tab=funds", "/problems/", "?appcode="):
        assert any(expected in each for each in addresses), expected
    assert [each for each in addresses if found(day.private | {USER}, each)] == []
    told = await scraped(settings)
    for counted in ("/v1/orders", "internal-error", "order_calls_total", "signed-in", "refused-by-broker"):
        assert counted in told
    assert found(day.private | {USER}, told) == set()


async def _is_kept_nowhere(rows: asyncpg.Connection, day: Day) -> None:
    """Look through every row there is; only name, user agent and, while visits are counted, the address are kept."""
    tables = [row[0] for row in await rows.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    kept = {
        (table, each)
        for table in tables
        for row in await rows.fetch(f"SELECT whole::text FROM {table} AS whole")
        for each in found(day.private, row[0])
    }
    name = {("users", each) for each in day.personal if each.endswith("Menon")}
    counted = {("rate_heads", ADDRESS), ("rate_permits", ADDRESS)}
    assert kept == name | counted | {("sessions", AGENT)}


@pytest.mark.parametrize(
    ("address", "kept"), [(ADDRESS, "203.0.113.0/24"), ("2001:db8:77:1234::5", "2001:db8:77::/48")]
)
async def test_of_an_address_only_the_network_is_kept_with_a_session(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection, address: str, kept: str
) -> None:
    behind_a_proxy = configured(
        service.settings.database_url.get_secret_value(), broker.url, trusted_proxies="127.0.0.0/8"
    )
    async with serving(behind_a_proxy) as replica, Browser(replica) as asha:
        asha.headers.update({"X-Forwarded-For": address, "User-Agent": AGENT})
        assert (await asha.sign_in(broker)).status_code == 303
    [row] = await rows.fetch("SELECT sessions::text AS whole, address_prefix, user_agent FROM sessions")
    assert (row["address_prefix"], row["user_agent"]) == (kept, AGENT)
    assert address not in row["whole"]
