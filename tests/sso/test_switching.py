"""Another client comes back than the one who is signed in; and somebody whom the broker does not send back at all."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape

import pytest

from tests.support.clock import SettableClock
from tests.support.investor import Browser, signed_in, slug
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
async def asha(service: Service, broker: SimulatedBroker) -> AsyncIterator[Browser]:
    async with signed_in(service, broker) as browser:
        yield browser


async def who(browser: Browser) -> str:
    return str((await browser.get("/v1/session")).json()["user"]["id"])


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Return where the one form of a page leads, and with what."""
    [action] = re.findall(r'action="([^"]+)"', page)
    return unescape(action), dict(re.findall(r'name="([^"]+)" value="([^"]*)"', unescape(page)))


async def test_another_client_leaves_the_session_alone_and_is_offered_to_switch(
    asha: Browser, service: Service, broker: SimulatedBroker
) -> None:
    kept = asha.cookies["session"]
    exchanged = len(broker.received("exchange"))
    await asha.begin_login(f"{service.url}/portal/?tab=orders")
    answer = await asha.come_back(broker.code_for("FO5678"))
    assert (answer.status_code, slug(answer)) == (403, "user-mismatch")
    assert "set-cookie" not in answer.headers
    assert answer.json()["loginUrl"].startswith(f"{service.url}/sso/login?switch=k1.")
    assert (await who(asha), asha.cookies["session"]) == ("AB1234", kept)
    assert (await asha.get("/v1/funds")).status_code == 200
    assert len(broker.received("exchange")) == exchanged, "his code is worth nothing to whoever is signed in"
    await asha.begin_login(f"{service.url}/portal/?tab=orders")
    page = await asha.come_back(broker.code_for("FO5678"), **PERSON)
    assert page.status_code == 403
    assert "Sign in as the other client" in page.text
    action, fields = form_of(page.text)
    begun = await asha.get(action, params=fields, headers=PERSON | {"Sec-Fetch-Site": "same-origin"})
    assert begun.status_code == 303
    switched = await asha.come_back(broker.code_for("FO5678"))
    assert switched.headers["location"] == f"{service.url}/portal/?tab=orders"
    assert await who(asha) == "FO5678"
    async with Browser(service) as thief:
        thief.cookies.set("session", kept)
        assert slug(await thief.get("/v1/session")) == "not-signed-in", "the former session of this browser has ended"


async def test_reloading_the_refusal_says_the_same(asha: Browser, service: Service, broker: SimulatedBroker) -> None:
    await asha.begin_login()
    parameters = broker.code_for("FO5678")
    for _ in range(2):
        answer = await asha.come_back(parameters)
        assert (answer.status_code, slug(answer)) == (403, "user-mismatch")
        assert answer.json()["loginUrl"].startswith(f"{service.url}/sso/login?switch=k1.")
    assert await who(asha) == "AB1234"


async def test_the_same_client_in_other_letters_is_no_other(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker, "MIXED77") as browser:
        await browser.begin_login()
        parameters = broker.code_for("MIXED77")
        assert parameters["userId"] != "MIXED77", "the broker writes it as the investor did"
        assert (await browser.come_back(parameters)).status_code == 303
        assert await who(browser) == "MIXED77"


async def test_whoever_is_signed_out_by_now_is_no_hindrance(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with signed_in(service, broker) as browser:
        clock.advance(timedelta(minutes=31))
        assert (await browser.sign_in(broker, "FO5678")).status_code == 303
        assert await who(browser) == "FO5678"


async def leave_of(browser: Browser, broker: SimulatedBroker, other: str = "FO5678") -> str:
    """Return the leave to switch that a browser is given when another client comes back."""
    await browser.begin_login()
    answer = await browser.come_back(broker.code_for(other))
    return str(answer.json()["loginUrl"]).rpartition("switch=")[2]


@pytest.mark.parametrize("site", ["same-site", "same-origin", "none", None])
async def test_nobody_else_can_have_the_client_switched(
    asha: Browser, service: Service, broker: SimulatedBroker, site: str | None
) -> None:
    """Whatever led here: a link, a sibling host, a code on a poster; and whatever its author has of his own."""
    headers = PERSON | ({"Sec-Fetch-Site": site} if site else {})
    async with signed_in(service, broker, "FO5678") as attacker:
        of_another_session = await leave_of(attacker, broker, "AB1234")
    for leave in ("true", "", "k1.", "k9.AAAA", "k1." + "A" * 43, of_another_session, "é"):
        begun = await asha.get("/sso/login", params={"switch": leave}, headers=headers)
        assert begun.status_code == 303
        answer = await asha.come_back(broker.code_for("FO5678"))
        assert (answer.status_code, slug(answer)) == (403, "user-mismatch")
    assert await who(asha) == "AB1234"


async def test_the_page_of_help_keeps_the_leave(asha: Browser, broker: SimulatedBroker, clock: SettableClock) -> None:
    leave = await leave_of(asha, broker)
    for _ in range(2):
        await asha.begin_login()
    clock.advance(timedelta(seconds=31))
    page = await asha.get("/sso/login", params={"switch": leave}, headers=PERSON)
    assert page.status_code == 200
    action, fields = form_of(page.text)
    assert (await asha.get(action, params=fields, headers=PERSON)).status_code == 303
    assert (await asha.come_back(broker.code_for("FO5678"))).status_code == 303
    assert await who(asha) == "FO5678"


async def test_where_a_look_alike_hides_who_is_signed_in_nobody_takes_his_place(
    asha: Browser, broker: SimulatedBroker
) -> None:
    await asha.begin_login()
    session, login = asha.cookies["session"], asha.cookies["login"]
    for cookies in (f"session={session}; login={login}; \xa0session=x", f"session={session}; session=y; login={login}"):
        headers = {b"Cookie": cookies.encode("latin-1")}
        answer = await asha.get("/sso/callback", params=broker.code_for("FO5678"), headers=headers)
        assert (answer.status_code, slug(answer)) == (403, "cross-site-request")
        assert "set-cookie" not in answer.headers
    assert await who(asha) == "AB1234"


async def test_a_reload_puts_nobody_into_the_place_of_another(service: Service, broker: SimulatedBroker) -> None:
    """Two clients come back in two tabs at the same moment; whoever reloads his later finds the other one there."""
    async with Browser(service) as browser:
        for tab in (1, 2):
            await browser.begin_login(f"{service.url}/tab{tab}")
        codes = [broker.code_for("AB1234"), broker.code_for("FO5678")]
        cookies = {"Cookie": f"login={browser.cookies['login']}"}
        backs = await asyncio.gather(*(browser.get("/sso/callback", params=each, headers=cookies) for each in codes))
        assert [each.status_code for each in backs] == [303, 303]
        there = await who(browser)
        others = codes[0 if there == "FO5678" else 1]
        assert slug(await browser.come_back(others)) == "user-mismatch"
        assert await who(browser) == there


async def test_a_log_out_ends_the_logins_that_were_begun(asha: Browser, broker: SimulatedBroker) -> None:
    await asha.begin_login()
    answer = await asha.delete("/v1/session")
    assert sorted(each.split("=")[0] for each in answer.headers.get_list("set-cookie")) == ["login", "session"]
    assert slug(await asha.come_back(broker.code_for("FO5678"))) == "login-attempt-missing"


async def test_whoever_is_not_sent_back_twice_is_told_why_that_may_be(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with Browser(service) as browser:
        for _ in range(2):
            assert (await browser.begin_login()).status_code == 303
        assert (await browser.begin_login()).status_code == 303, "tabs of one moment are no reason"
        clock.advance(timedelta(seconds=31))
        page = await browser.get("/sso/login", headers=PERSON)
        assert page.status_code == 200
        assert "not approved" in page.text
        assert "set-cookie" not in page.headers
        action, fields = form_of(page.text)
        assert (await browser.get(action, params=fields, headers=PERSON)).status_code == 303
        assert (await browser.come_back(broker.code_for("AB1234"))).status_code == 303


async def test_logins_that_ended_well_are_no_reason_for_help(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with Browser(service) as browser:
        for _ in range(3):
            assert (await browser.sign_in(broker)).status_code == 303
        clock.advance(timedelta(seconds=31))
        assert (await browser.begin_login()).status_code == 303


@pytest.mark.parametrize("path", ["/sso/login", "/sso/callback?authCode=WREWS6EAA7P8K8PUKA2M&userId=AB1234"])
async def test_head_spends_nothing(service: Service, broker: SimulatedBroker, path: str) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        answer = await browser.head(path)
        assert answer.status_code == 405
        assert "set-cookie" not in answer.headers
    assert broker.received() == []
