"""A real browser, and pages of it that must not break any rule while a test uses them."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.browser.steps import CHROMIUM, settled
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


def _is_fault(message: ConsoleMessage) -> bool:
    """Say whether the page has done something wrong; that an answer was a refusal the browser notes by itself."""
    if "Content Security Policy" in message.text:
        return True
    return message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource")
