"""Nobody floods the broker through our sign-in, and nobody is kept out because many share his address."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import create_clone
from tests.support.configured import configured
from tests.support.investor import Browser, slug
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

LIMIT = 6


@pytest.fixture(scope="module")
async def door(worker: str, simulator_process: SimulatedBroker) -> AsyncIterator[Service]:
    """Give a service that lets six visits of one address in."""
    url = await create_clone(f"door_{worker}")
    given = {"sign_in_limit_per_address": str(LIMIT), "trusted_proxies": "127.0.0.1/32"}
    async with serving(configured(url, simulator_process.url, **given)) as service:
        yield service


async def visit(door: Service, address: str, path: str = "/sso/login", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=door.url) as client:
        return await client.get(path, headers={"X-Forwarded-For": address} | headers)


async def test_a_flood_from_one_address_is_stopped_and_others_are_not(door: Service, broker: SimulatedBroker) -> None:
    answers = [await visit(door, "203.0.113.7") for _ in range(LIMIT + 1)]
    assert [each.status_code for each in answers] == [303] * LIMIT + [429]
    assert slug(answers[-1]) == "rate-limited"
    assert answers[-1].json()["violatedPolicies"] == ["sign-in-60"]
    assert 55 <= int(answers[-1].headers["retry-after"]) <= 60
    assert (await visit(door, "203.0.113.8")).status_code == 303


async def test_a_person_is_told_so_on_a_page(door: Service, broker: SimulatedBroker) -> None:
    for _ in range(LIMIT):
        await visit(door, "203.0.113.9")
    page = await visit(door, "203.0.113.9", **{"Sec-Fetch-Mode": "navigate", "Accept": "text/html"})
    assert page.status_code == 429
    assert "Too many sign-ins" in page.text
    assert "text/html" in page.headers["content-type"]


async def test_codes_that_nobody_was_given_reach_the_broker_as_often_as_that(
    door: Service, broker: SimulatedBroker
) -> None:
    async with Browser(door) as attacker:
        attacker.headers["X-Forwarded-For"] = "203.0.113.10"
        answers = []
        for number in range(LIMIT):
            await attacker.begin_login()
            answers.append(await attacker.come_back({"authCode": f"GUESS{number:015d}", "userId": "AB1234"}))
    assert {each.status_code for each in answers} == {403, 429}
    assert len(broker.received("exchange")) == LIMIT // 2


async def test_whoever_signs_in_takes_nobodys_place(door: Service, broker: SimulatedBroker) -> None:
    """A carrier's address has a whole city behind it."""

    async def sign_in(user: str) -> int:
        async with Browser(door) as browser:
            browser.headers["X-Forwarded-For"] = "203.0.113.11"
            return (await browser.sign_in(broker, user)).status_code

    for user in ["AB1234", "FO5678", "EMPTY01", "NEG0042"] * 3:
        assert await sign_in(user) == 303


async def test_one_line_of_ipv6_is_one_address(door: Service, broker: SimulatedBroker) -> None:
    answers = [await visit(door, f"2001:db8:1:2::{number}") for number in range(1, LIMIT + 2)]
    assert answers[-1].status_code == 429
    assert (await visit(door, "2001:db8:1:3::1")).status_code == 303


async def test_what_no_person_visits_uses_nothing_up(door: Service, broker: SimulatedBroker) -> None:
    """Another page can't lock an address out with a hundred pictures of our sign-in."""
    for _ in range(LIMIT + 1):
        picture = await visit(door, "203.0.113.12", **{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"})
        assert picture.status_code == 403
    assert (await visit(door, "203.0.113.12")).status_code == 303


async def test_a_reload_gives_back_no_more_than_itself(door: Service, broker: SimulatedBroker) -> None:
    async with Browser(door) as browser:
        browser.headers["X-Forwarded-For"] = "203.0.113.13"
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        for _ in range(LIMIT):
            assert (await browser.come_back(parameters)).status_code == 303
        await asyncio.gather(*(browser.begin_login() for _ in range(LIMIT)))
        assert (await browser.begin_login()).status_code == 429


async def test_an_address_with_a_port_is_that_address(door: Service, broker: SimulatedBroker) -> None:
    """As some proxies write it; unread, everybody behind them would count together."""
    for _ in range(LIMIT):
        assert (await visit(door, "203.0.113.14:4444")).status_code == 303
    assert (await visit(door, "203.0.113.14:5555")).status_code == 429
    assert (await visit(door, "203.0.113.15:4444")).status_code == 303
    assert (await visit(door, "[2001:db8:1:4::1]:4444")).status_code == 303


async def test_a_flood_asks_the_store_of_permits_once_a_second(door: Service, broker: SimulatedBroker) -> None:
    for _ in range(LIMIT + 1):
        await visit(door, "203.0.113.16")
    answers = await asyncio.gather(*(visit(door, "203.0.113.16") for _ in range(40)))
    assert {each.status_code for each in answers} == {429}
    assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
