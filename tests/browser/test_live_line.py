"""The end of a stream in the portal: cut, refused, or because nobody may listen any more; and how it comes back."""

import json
from collections import Counter

import asyncpg
from playwright.async_api import BrowserContext, expect

from tests.browser.steps import IN_A_BROWSER, settled
from tests.browser.watching import CHANGING, STREAM, Far, Watched, placed
from tests.support.investor import Browser, signed_in
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER

AT_ONCE = 5_000  # milliseconds; whoever asked by a timer would need up to sixty seconds


async def test_a_cut_line_is_told_and_what_was_missed_comes_with_the_next_one(far: Far, phone: Browser) -> None:
    watched, spoken = far.watched, far.watched.page.locator("#spoken")
    watched.asked.clear()
    await far.line.cut()
    await watched.is_live("reconnecting")
    await expect(watched.page.get_by_test_id("live")).to_have_text("Reconnecting…")
    await expect(spoken).not_to_contain_text("Not live")
    await placed(phone)
    await watched.page.clock.run_for(6_000)
    await expect(spoken).to_contain_text("Not live")
    await far.mend()
    await watched.is_live()
    await expect(spoken).to_have_text("Live again.")
    await expect(watched.row("orders", "YESBANK-EQ", "0 / 10")).to_contain_text("OPEN")
    await expect(watched.row("placements", "YESBANK-EQ")).to_contain_text("OPEN")
    assert watched.asked["/v1/orders"] == 0


async def test_whoever_signed_in_meanwhile_is_shown_and_nobody_else(
    far: Far, context: BrowserContext, service: Service, broker: SimulatedBroker
) -> None:
    page = far.watched.page
    await far.line.cut()
    await far.watched.is_live("reconnecting")
    async with signed_in(service, broker, "FO5678") as other:
        await context.add_cookies([{"name": "session", "value": other.cookies["session"], "url": service.url}])
    await far.mend()
    await expect(page.get_by_test_id("investor-name")).to_have_text("Farhan Qureshi")
    await settled(page, "orders", "ready")
    assert "Asha Menon" not in await page.content()


async def test_a_refused_stream_leaves_the_page_readable_and_is_tried_again(
    quiet: Watched, service: Service, phone: Browser
) -> None:
    problem = json.dumps({"type": "about:blank", "status": 503})
    await quiet.page.route(
        STREAM, lambda route: route.fulfill(status=503, content_type="application/problem+json", body=problem)
    )
    await quiet.open(service.url)
    await quiet.is_live("off")
    await expect(quiet.page.get_by_test_id("live")).to_contain_text("Not live, looked at ")
    quiet.asked.clear()
    await quiet.page.unroute(STREAM)
    await quiet.is_live()
    for section in CHANGING:
        await quiet.has_asked(f"/v1/{section}")  # nobody has told what happened between the first reading and this


async def test_a_log_out_on_another_device_ends_the_page_at_once(watched: Watched, phone: Browser) -> None:
    assert (await phone.delete("/v1/sessions")).status_code == 204
    await expect(watched.page.get_by_test_id("sign-in")).to_be_visible(timeout=AT_ONCE)
    assert "Asha Menon" not in await watched.page.content()
    assert watched.asked == Counter()


async def test_a_log_out_in_another_tab_ends_the_page_at_once(
    watched: Watched, context: BrowserContext, service: Service
) -> None:
    tab = await context.new_page()
    await tab.goto(f"{service.url}/portal/")
    await tab.get_by_test_id("log-out").click()
    await expect(watched.page.get_by_test_id("sign-in")).to_be_visible(timeout=AT_ONCE)


async def test_a_blocked_user_is_told_so(watched: Watched, rows: asyncpg.Connection) -> None:
    await rows.execute("INSERT INTO blocks VALUES ('AB1234', 'Under review.', 'ops', now())")
    await expect(watched.page.get_by_role("alert")).to_contain_text("This user is blocked", timeout=AT_ONCE)
    assert "Asha Menon" not in await watched.page.content()


async def test_an_ended_broker_session_is_told_and_a_new_one_brings_everything_back(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    broker.expire()
    await expect(watched.page.get_by_test_id("banner")).to_be_visible()
    await watched.is_live("off")
    assert (await phone.sign_in(broker)).status_code == 303
    watched.asked.clear()
    await watched.page.clock.run_for(61_000)
    await watched.is_live()
    await expect(watched.page.get_by_test_id("banner")).to_be_hidden()
    for section in CHANGING:
        await watched.has_asked(f"/v1/{section}")


async def test_after_a_restored_database_everything_is_read_anew(
    watched: Watched, context: BrowserContext, rows: asyncpg.Connection
) -> None:
    await rows.execute("DELETE FROM order_events")
    await rows.execute("UPDATE users SET last_event = 0")
    await context.set_offline(offline=True)
    await context.set_offline(offline=False)  # whoever is online again opens the stream anew
    for section in CHANGING:
        await watched.has_asked(f"/v1/{section}")
    await watched.is_live()
