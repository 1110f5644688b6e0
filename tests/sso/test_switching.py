"""Another client comes back than the one who is signed in; and somebody whom the broker does not send back at all."""

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
    assert answer.json()["loginUrl"] == f"{service.url}/sso/login?switch=true"
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
        assert answer.json()["loginUrl"] == f"{service.url}/sso/login?switch=true"
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


async def test_another_site_can_not_have_the_client_switched(asha: Browser, broker: SimulatedBroker) -> None:
    foreign = PERSON | {"Sec-Fetch-Site": "cross-site"}
    page = await asha.get("/sso/login", params={"switch": "true"}, headers=foreign)
    assert page.status_code == 200
    action, fields = form_of(page.text)
    assert "switch" not in fields
    await asha.get(action, params=fields, headers=PERSON | {"Sec-Fetch-Site": "same-origin"})
    assert slug(await asha.come_back(broker.code_for("FO5678"))) == "user-mismatch"
    assert await who(asha) == "AB1234"


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
