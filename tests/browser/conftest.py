"""A real browser, and pages of it that must not break any rule while a test uses them."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.browser.steps import CHROMIUM, settled
from tests.browser.watching import Far, Watched, listening_at
from tests.support.investor import Browser as Device
from tests.support.investor import signed_in
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        await browser.close()


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    context = await chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context
    await context.close()


@pytest.fixture
async def blank(context: BrowserContext) -> AsyncIterator[Page]:
    """Give a page that must not break any rule, whatever it shows."""
    page = await context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda message: broken.append(message.text) if _is_fault(message) else None)
    yield page
    assert broken == []


@pytest.fixture
async def page(blank: Page, service: Service) -> Page:
    """Give the portal with nobody signed in."""
    await blank.goto(f"{service.url}/portal/")
    return blank


@pytest.fixture
async def portal(blank: Page, context: BrowserContext, service: Service, broker: SimulatedBroker) -> Page:
    """Give the portal with AB1234 signed in, by the short way: his cookie."""
    async with signed_in(service, broker) as investor:
        await context.add_cookies([{"name": "session", "value": investor.cookies["session"], "url": service.url}])
    await blank.goto(f"{service.url}/portal/")
    for section in ("funds", "positions", "orders"):
        await settled(blank, section, "ready")
    return blank


@pytest.fixture
async def phone(service: Service, broker: SimulatedBroker) -> AsyncIterator[Device]:
    """Give another device of AB1234, on which his orders of the day so far have been looked at."""
    async with signed_in(service, broker) as browser:
        assert (await browser.get("/v1/orders")).status_code == 200
        yield browser


@pytest.fixture
async def quiet(
    blank: Page, context: BrowserContext, service: Service, broker: SimulatedBroker, phone: Device
) -> Watched:
    """Give a page on which AB1234 will be signed in, and whose time a test can move; it is not open yet."""
    async with signed_in(service, broker) as investor:
        await context.add_cookies([{"name": "session", "value": investor.cookies["session"], "url": service.url}])
    await blank.clock.install()
    return Watched(blank)


@pytest.fixture
async def watched(quiet: Watched, service: Service) -> Watched:
    """Give the page with everything read, and live."""
    await quiet.open(service.url)
    await quiet.is_live()
    quiet.asked.clear()
    return quiet


@pytest.fixture
async def far(quiet: Watched, service: Service) -> AsyncIterator[Far]:
    """Give the page behind a line that can be cut."""
    port = urlsplit(service.url).port
    assert port
    far = Far(quiet, port, listening_at(0))
    await far.line.open()
    await quiet.open(f"http://127.0.0.1:{far.number}")
    await quiet.is_live()
    yield far
    await far.line.cut()


def _is_fault(message: ConsoleMessage) -> bool:
    """Say whether the page has done something wrong; that an answer was a refusal the browser notes by itself."""
    if "Content Security Policy" in message.text:
        return True
    return message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource")
