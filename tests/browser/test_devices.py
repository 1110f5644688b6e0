"""Devices in the portal: seen, ended one by one and all at once; and two clients in one browser."""

from playwright.async_api import BrowserContext, Page, expect

from tests.browser.steps import IN_A_BROWSER, settled, sign_in
from tests.support.investor import Browser, signed_in, slug
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER


async def test_another_device_is_ended_and_then_all_are(
    portal: Page, context: BrowserContext, service: Service, broker: SimulatedBroker
) -> None:
    async with signed_in(service, broker) as phone, signed_in(service, broker) as desk:
        await portal.get_by_test_id("devices").click()
        dialog = portal.get_by_role("dialog")
        await expect(dialog.get_by_role("row")).to_have_count(4)
        await expect(dialog).to_contain_text("127.0.0.0/24")
        await expect(dialog).to_contain_text("python-httpx (this one)")
        await dialog.get_by_role("button", name="Log out", exact=True).first.click()
        await expect(dialog.get_by_role("row")).to_have_count(3)
        left = [slug(await each.get("/v1/session")) if await is_out(each) else "in" for each in (phone, desk)]
        assert sorted(left) == ["in", "not-signed-in"]
        await dialog.get_by_test_id("log-out-everywhere").click()
        await expect(portal.get_by_test_id("sign-in")).to_be_visible()
        assert [await is_out(each) for each in (phone, desk)] == [True, True]
    assert "session" not in {cookie["name"] for cookie in await context.cookies()}
    await portal.goto("about:blank")
    await portal.go_back()
    await expect(portal.get_by_test_id("sign-in")).to_be_visible()
    assert "Asha Menon" not in await portal.content()


async def is_out(browser: Browser) -> bool:
    return (await browser.get("/v1/session")).status_code == 401


async def test_another_client_is_asked_whether_he_takes_the_place_of_the_first(portal: Page, service: Service) -> None:
    await portal.goto(f"{service.url}/sso/login")
    await expect(portal.get_by_text("SIMULATOR", exact=True)).to_be_visible()
    await portal.locator('input[value="FO5678"]').check()
    await portal.get_by_role("button", name="Log in").click()
    await expect(portal.get_by_role("heading")).to_have_text("Another client has come back")
    await portal.get_by_role("button", name="Sign in as the other client").click()
    await portal.locator('input[value="FO5678"]').check()
    await portal.get_by_role("button", name="Log in").click()
    await expect(portal.get_by_test_id("investor-name")).to_have_text("Farhan Qureshi")
    await settled(portal, "funds", "ready")


async def test_a_device_has_a_short_name(page: Page) -> None:
    await sign_in(page)
    await page.get_by_test_id("devices").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Chrome on Linux (this one)")


async def test_whoever_is_out_meanwhile_is_told_by_the_list_of_devices(portal: Page, context: BrowserContext) -> None:
    await context.clear_cookies()
    await portal.get_by_test_id("devices").click()
    await expect(portal.get_by_test_id("sign-in")).to_be_visible()


async def test_the_name_and_the_time_of_the_sign_in_are_shown(page: Page) -> None:
    await sign_in(page)
    await expect(page.get_by_test_id("investor-name")).to_have_text("Asha Menon")
    await expect(page.get_by_test_id("session-ends")).to_contain_text("signed in at")
