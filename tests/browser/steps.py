"""What every test of the portal does: open it, sign in, wait until a section has settled."""

import shutil

import pytest
from playwright.async_api import Page, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

expect.set_options(timeout=20_000)  # milliseconds; a busy machine is no fault of the page

IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="THERE IS NO CHROMIUM ON THIS MACHINE: the portal is not tested"),
    pytest.mark.xdist_group("browser"),
]


async def sign_in(page: Page, investor: str = "AB1234") -> None:
    """Take the whole way, over the broker's login page."""
    await page.get_by_test_id("sign-in").click()
    await expect(page.get_by_text("SIMULATOR", exact=True)).to_be_visible()
    await page.locator(f'input[value="{investor}"]').check()
    await page.get_by_role("button", name="Log in").click()


async def settled(page: Page, section: str, state: str) -> None:
    await expect(page.get_by_test_id(section)).to_have_attribute("data-state", state)
