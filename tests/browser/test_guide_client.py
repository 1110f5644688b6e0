"""The client of docs/order-updates.md, word for word, in a browser: on a page of another origin of the same site."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from playwright.async_api import BrowserContext, Route

from app.observability import configure_logging
from tests.browser.guide_page import A_SECOND, HOST, READERS, Guide, answering, the_client
from tests.browser.steps import IN_A_BROWSER
from tests.browser.watching import STREAM, Far, Watched, listening_at, placed
from tests.conftest import create_clone, empty
from tests.support.configured import configured
from tests.support.investor import signed_in
from tests.support.replicas import until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker
from workbench.children import free_port

pytestmark = IN_A_BROWSER

LAST_SEEN = "SELECT max(last_seen_at) FROM sessions"


@pytest.fixture(scope="session")
def page_number() -> int:
    """Give the port of the page, an origin that the service has to know beforehand."""
    return free_port()


@pytest.fixture(scope="session")
async def guide_database(worker: str) -> str:
    return await create_clone(f"guide_{worker}")


@pytest.fixture(scope="session")
async def api(guide_database: str, simulator_process: SimulatedBroker, page_number: int) -> AsyncIterator[Service]:
    configure_logging(level="INFO", log_format="json")
    origin = f"http://127.0.0.1:{page_number}"
    settings = configured(
        guide_database, simulator_process.url, "http://127.0.0.1:2",
        frontend_origins=origin, default_return_url=f"{origin}/",
    )  # fmt: skip
    async with serving(settings) as service:
        yield service


@pytest.fixture
async def guide(
    context: BrowserContext, api: Service, broker: SimulatedBroker, guide_database: str, page_number: int
) -> AsyncIterator[Guide]:
    """Give the page, with AB1234 signed in and not open yet."""
    broker.return_to(f"{api.url}/sso/callback")
    await sign_in(context, api, broker, "AB1234")
    page, broken, port = await context.new_page(), list[str](), urlsplit(api.url).port
    page.on("pageerror", lambda error: broken.append(str(error)))
    await page.clock.install()
    assert port
    async with signed_in(api, broker) as phone:
        phone.headers["Origin"] = f"http://127.0.0.1:{page_number}"
        assert (await phone.get("/v1/orders")).status_code == 200
        begun_at = (await phone.get("/v1/order-events")).json()["lastEventId"]
        guide = Guide(Far(Watched(page), port, listening_at(0)), phone, begun_at)
        page.on("request", lambda request: guide.sent.append(request))  # noqa: PLW0108  # Playwright asks it for a name
        await guide.far.line.open()
        script = the_client().replace(HOST, f"http://127.0.0.1:{guide.far.number}")
        content = (
            f'<!doctype html><title>A page</title><script>{READERS}</script><script type="text/javascript">{script}'
        )
        async with answering(listening_at(page_number), f"200 OK\r\nContent-Type: text/html\r\n\r\n{content}</script>"):
            yield guide
        await guide.far.line.cut()
    await page.close()
    await empty(guide_database)
    assert broken == []


@pytest.fixture
async def opened(guide: Guide, page_number: int) -> Guide:
    """Give it open and live."""
    await guide.far.watched.page.goto(f"http://127.0.0.1:{page_number}/")
    await guide.is_live()
    return guide


async def sign_in(context: BrowserContext, api: Service, broker: SimulatedBroker, user: str) -> None:
    async with signed_in(api, broker, user) as investor:
        await context.add_cookies([
            {"name": "session", "value": investor.cookies["session"], "url": api.url, "sameSite": "Lax"}
        ])  # fmt: skip


async def test_it_shows_the_book_and_announces_what_happens_elsewhere(opened: Guide, broker: SimulatedBroker) -> None:
    book = (await opened.phone.get("/v1/orders")).json()["orders"]
    assert book
    assert await opened.told("shown") == book
    assert await opened.told("announced") == []
    [number] = await placed(opened.phone)
    broker.set_price("YESBANK-EQ", "13.00")
    await opened.happened(number, "FILLED")
    await opened.has_told_each_once()
    assert await opened.status(number) == "COMPLETE"
    assert opened.far.watched.asked["/v1/orders"] == opened.far.watched.asked["/v1/order-updates"] == 1


async def test_what_happened_while_the_line_was_cut_is_announced_once(opened: Guide, broker: SimulatedBroker) -> None:
    [before] = await placed(opened.phone)
    await opened.has_told_each_once()
    await opened.far.line.cut()
    await opened.is_live(wanted=False)
    [number] = await placed(opened.phone)
    broker.set_price("YESBANK-EQ", "13.00")
    for each in (before, number):
        await opened.happened(each, "FILLED")
    await opened.far.mend()
    await opened.is_live()
    await opened.has_told_each_once()
    await placed(opened.phone, price="12.00")
    await opened.has_told_each_once()
    assert await opened.status(number) == "COMPLETE"


async def test_what_a_book_has_told_already_is_announced_all_the_same(opened: Guide, broker: SimulatedBroker) -> None:
    page = opened.far.watched.page
    await page.route(STREAM, lambda route: route.abort())
    await opened.far.line.cut()
    await opened.far.mend()
    [number] = await placed(opened.phone)
    broker.set_price("YESBANK-EQ", "13.00")
    await opened.happened(number, "FILLED")
    await page.evaluate("loadOrders()")
    assert await opened.status(number) == "COMPLETE"
    assert await opened.told("announced") == []
    await page.unroute(STREAM)
    await opened.has_told_each_once()
    assert await opened.status(number) == "COMPLETE"


@pytest.mark.parametrize("is_told", [True, False], ids=["the-service", "a-proxy"])
async def test_after_a_503_it_goes_on_and_misses_nothing(
    opened: Guide, broker: SimulatedBroker, page_number: int, is_told: bool
) -> None:
    """A proxy says nothing of origins, so that the page may not even know what the answer was."""
    allowed = f"http://127.0.0.1:{page_number}\r\nAccess-Control-Allow-Credentials: true"
    headers = f"Access-Control-Allow-Origin: {allowed}\r\n" if is_told else ""
    await opened.far.line.cut()
    async with answering(listening_at(opened.far.number), f"503 Service Unavailable\r\n{headers}\r\n") as came:

        async def is_refused_again() -> bool:
            await opened.far.watched.page.clock.run_for(A_SECOND)
            return sum(b"/v1/order-updates" in each for each in came) > 1

        await until(is_refused_again, within=30)
        [number] = await placed(opened.phone)
        broker.set_price("YESBANK-EQ", "13.00")
        await opened.happened(number, "FILLED")
        await opened.is_live(wanted=False)
    await opened.far.mend()
    await opened.is_live()
    await opened.has_told_each_once()
    assert await opened.status(number) == "COMPLETE"
    assert await opened.told("asked") == 0


async def test_a_book_that_could_not_be_read_is_read_later(guide: Guide, page_number: int) -> None:
    page = guide.far.watched.page
    await page.route("**/v1/orders", lambda route: route.abort())
    await page.goto(f"http://127.0.0.1:{page_number}/")

    async def has_tried_again() -> bool:
        await page.clock.run_for(A_SECOND)
        return guide.far.watched.asked["/v1/orders"] > 1

    await until(has_tried_again)
    assert await guide.told("shown") == []
    await page.unroute("**/v1/orders")
    await guide.is_live()
    assert await guide.told("shown") == (await guide.phone.get("/v1/orders")).json()["orders"]


async def test_a_log_out_elsewhere_while_it_was_away_ends_it(opened: Guide) -> None:
    await opened.far.line.cut()
    await opened.is_live(wanted=False)
    assert (await opened.phone.delete("/v1/sessions")).status_code == 204
    await opened.far.mend()
    await opened.has_asked_to_sign_in()


async def test_the_end_of_the_brokers_session_ends_it(opened: Guide, broker: SimulatedBroker) -> None:
    broker.expire()
    await opened.has_asked_to_sign_in()


async def test_a_slow_book_takes_nothing_back_that_an_event_has_told(
    guide: Guide, broker: SimulatedBroker, page_number: int
) -> None:
    page, is_read, may_come = guide.far.watched.page, asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        answer = await route.fetch()
        is_read.set()
        await may_come.wait()
        await route.fulfill(response=answer)

    [number] = await placed(guide.phone)
    await guide.happened(number, "OPEN")
    guide.begun_at = (await guide.events())[-1]["id"]
    await page.route("**/v1/orders", answer_late)
    await page.goto(f"http://127.0.0.1:{page_number}/")
    await is_read.wait()
    broker.set_price("YESBANK-EQ", "13.00")
    await guide.happened(number, "FILLED")
    await guide.has_told_each_once()
    may_come.set()
    await guide.is_live()  # the book has been taken in
    assert len(await guide.told("shown")) > 1
    assert await guide.status(number) == "COMPLETE"


async def test_it_keeps_nobody_signed_in(guide: Guide, page_number: int, guide_database: str) -> None:
    page, rows = guide.far.watched.page, await asyncpg.connect(guide_database)

    async def is_touched() -> bool:
        await page.evaluate("fetch(`${api}/v1/session`, { credentials: 'include' })")
        return bool(await rows.fetchval(LAST_SEEN) > before)

    try:
        await rows.execute("UPDATE sessions SET last_seen_at = last_seen_at - interval '10 minutes'")
        before = await rows.fetchval(LAST_SEEN)
        await page.goto(f"http://127.0.0.1:{page_number}/")
        await guide.is_live()
        await page.evaluate("async () => { stream.close(); await lookWhy(); }")
        await guide.is_live(wanted=False)
        await guide.is_live()
        assert await rows.fetchval(LAST_SEEN) == before
        asked = [each for each in guide.sent if each.resource_type == "fetch"]
        assert {urlsplit(each.url).path for each in asked} == {"/v1/orders", "/v1/session"}
        assert {each.headers.get("x-background") for each in asked} == {"true"}
        await until(is_touched)  # as soon as somebody asks without the header
    finally:
        await rows.close()


async def test_whoever_signed_in_meanwhile_gets_a_page_of_his_own(
    opened: Guide, context: BrowserContext, api: Service, broker: SimulatedBroker
) -> None:
    page = opened.far.watched.page
    await page.evaluate("window.isOld = true")
    await opened.far.line.cut()
    await opened.is_live(wanted=False)
    await sign_in(context, api, broker, "FO5678")
    await opened.far.mend()
    await page.wait_for_function("!window.isOld")
    await opened.is_live()
    assert await page.evaluate("whose") == "FO5678"
    book = (await page.evaluate("ask('/v1/orders')"))["orders"]
    shown = await opened.told("shown")  # some twice: by the book, and by the events of its being seen first
    assert shown
    assert [each for each in shown if each not in book] == []
    assert book != (await opened.phone.get("/v1/orders")).json()["orders"]
