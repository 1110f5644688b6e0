"""The portal in a real browser: sign in, see the figures, log out, and nothing comes Back."""

from playwright.async_api import BrowserContext, Page, expect

from tests.browser.steps import IN_A_BROWSER, settled, sign_in
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER


async def test_an_investor_signs_in_sees_his_figures_and_leaves_nothing_behind(
    page: Page, context: BrowserContext
) -> None:
    await sign_in(page)
    await expect(page.get_by_test_id("investor-name")).to_have_text("Asha Menon")
    for section in ("funds", "profile", "holdings", "positions", "orders", "trades"):
        await settled(page, section, "ready")
    await expect(page.get_by_test_id("funds")).to_contain_text("21,030.50")
    await expect(page.get_by_test_id("holdings")).to_contain_text("\N{MINUS SIGN}236.10")
    await expect(page.get_by_test_id("orders")).to_contain_text("TRIGGER PENDING")
    await expect(page.get_by_test_id("profile")).to_contain_text("******4K")
    assert page.url.endswith("/portal/")
    assert await page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})") == "{}"
    cookies = {cookie["name"]: cookie for cookie in await context.cookies()}
    assert cookies["session"]["httpOnly"]
    await page.get_by_test_id("log-out").click()
    await expect(page.get_by_test_id("sign-in")).to_be_visible()
    await page.goto("about:blank")
    await page.go_back()
    await expect(page.get_by_test_id("sign-in")).to_be_visible()
    assert "Asha Menon" not in await page.content()
    assert "session" not in {cookie["name"] for cookie in await context.cookies()}


async def test_back_from_another_page_shows_nothing_once_the_session_has_gone(
    page: Page, context: BrowserContext, service: Service
) -> None:
    await sign_in(page)
    await settled(page, "funds", "ready")
    await page.goto(f"{service.url}/problems/not-found")
    await context.clear_cookies()
    await page.go_back()
    await expect(page.get_by_test_id("sign-in")).to_be_visible()
    assert "Asha Menon" not in await page.content()


async def test_an_order_shows_its_history(page: Page) -> None:
    await sign_in(page)
    await page.get_by_test_id("orders").get_by_role("button", name="IDEA-EQ", exact=True).click()
    await expect(page.get_by_role("dialog")).to_contain_text("NewAck")


async def test_an_empty_account_says_so_in_words(page: Page) -> None:
    await sign_in(page, "EMPTY01")
    await settled(page, "positions", "empty")
    await expect(page.get_by_test_id("positions")).to_contain_text("No open positions.")


async def test_an_ended_broker_session_is_a_banner_and_never_an_empty_list(page: Page, broker: SimulatedBroker) -> None:
    await sign_in(page)
    await settled(page, "trades", "ready")
    broker.expire()
    await page.get_by_role("button", name="Refresh positions").click()
    await settled(page, "positions", "error")
    await expect(page.get_by_test_id("banner")).to_be_visible()
    await expect(page.get_by_test_id("positions")).to_contain_text("Not known until you sign in again.")
    await expect(page.get_by_text("Gopocket session ended")).to_be_visible()


async def test_whoever_presses_refresh_asks_for_a_fresh_answer(page: Page) -> None:
    """With `Pragma` beside it, it would be what browsers add by themselves, and not believed."""
    await sign_in(page)
    await settled(page, "holdings", "ready")
    async with page.expect_request("**/v1/holdings") as asking:
        await page.get_by_role("button", name="Refresh holdings").click()
    sent = await (await asking.value).all_headers()
    assert (sent.get("cache-control"), sent.get("pragma")) == ("no-cache", None)


async def test_a_failing_section_says_what_to_do_and_recovers(page: Page, broker: SimulatedBroker) -> None:
    await sign_in(page)
    await settled(page, "holdings", "ready")
    broker.break_call("holdings", "html200")
    await page.get_by_role("button", name="Refresh holdings").click()
    await expect(page.get_by_test_id("holdings")).to_contain_text("broker-fault")
    broker.mend()
    await page.get_by_test_id("holdings").get_by_role("button", name="Try again").click()
    await settled(page, "holdings", "ready")


async def test_a_wrong_password_stays_at_the_broker_and_an_unapproved_app_never_returns(
    page: Page, broker: SimulatedBroker
) -> None:
    await page.get_by_test_id("sign-in").click()
    await page.locator("input[type=password]").fill("wrong")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("wrong")
    broker.change_app(approved=False)
    await page.goto(f"{broker.url}/?appcode=DEMOAPP")
    await expect(page.get_by_text("has not been activated")).to_be_visible()


async def test_a_failed_login_is_a_readable_page_that_leads_on(
    page: Page, broker: SimulatedBroker, service: Service
) -> None:
    await page.goto(f"{service.url}/sso/callback?authCode=AAAAAAAAAAAAAAAAAAAA&userId=AB1234")
    await expect(page.get_by_role("heading")).to_have_text("This login was not begun in this browser")
    await page.get_by_role("button", name="Sign in with Gopocket").click()
    await expect(page.get_by_text("SIMULATOR", exact=True)).to_be_visible()
    assert page.url.startswith(broker.url)


async def test_the_api_page_works_without_internet(context: BrowserContext, service: Service) -> None:
    page = await context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if not request.url.startswith(service.url) else None)
    await page.goto(f"{service.url}/docs")
    await expect(page.get_by_text("/v1/holdings")).to_be_visible()
    assert [url for url in outside if not url.startswith("data:")] == []


async def test_another_name_of_this_machine_leads_to_the_one_that_the_service_knows(
    context: BrowserContext, service: Service
) -> None:
    page = await context.new_page()
    await page.goto(service.url.replace("127.0.0.1", "localhost") + "/portal/")
    await page.wait_for_url(f"{service.url}/portal/")
    await sign_in(page)
    await expect(page.get_by_test_id("investor-name")).to_have_text("Asha Menon")
