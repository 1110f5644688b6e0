"""The portal lives from the stream of order updates: what happens elsewhere shows by itself, and no timer asks."""

import json
from collections import Counter

import pytest
from playwright.async_api import Route, expect

from tests.browser.steps import IN_A_BROWSER
from tests.browser.watching import FIVE_MINUTES, STREAM, Watched, placed
from tests.support.investor import Browser
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER

KINDS: tuple[list[dict[str, str]], ...] = ([], [{"field": "status"}])  # an order shown first, and one that changed
MORNING, NOON, NIGHT = (f"2026-11-25T{time}:00Z" for time in ("04:00", "06:30", "00:10"))
RISK = "RED:Margin Shortfall:INR 12"


async def test_an_order_of_another_device_appears_and_fills_and_nobody_reads_the_book(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    [number] = await placed(phone)
    await expect(watched.row("orders", "YESBANK-EQ", "0 / 10")).to_contain_text("OPEN")
    await expect(watched.row("placements", number)).to_contain_text("OPEN")
    assert watched.asked.keys() <= {"/v1/placements", "/v1/funds"}
    broker.set_price("YESBANK-EQ", "13.00")
    await expect(watched.row("orders", "YESBANK-EQ", "10 / 10")).to_contain_text("COMPLETE")
    await expect(watched.row("positions", "YESBANK-EQ")).to_contain_text("10")
    await expect(watched.row("trades", "YESBANK-EQ")).to_contain_text("10")
    await expect(watched.row("placements", number)).to_contain_text("COMPLETE")
    await expect(watched.page.get_by_test_id("notice")).to_contain_text("YESBANK-EQ: filled, 10 at ")
    await watched.has_asked("/v1/holdings")
    assert watched.asked["/v1/orders"] == 0
    assert [watched.asked[f"/v1/{each}"] for each in ("positions", "trades", "holdings")] == [1, 1, 1]


async def test_while_it_is_live_no_timer_asks_anything(watched: Watched, phone: Browser) -> None:
    await watched.page.clock.run_for(FIVE_MINUTES)
    assert watched.asked == Counter()
    await placed(phone)
    await expect(watched.row("orders", "YESBANK-EQ")).to_contain_text("OPEN")  # it lives, and needed no question
    await watched.has_asked("/v1/placements")
    assert watched.asked["/v1/session"] == watched.asked["/v1/order-updates"] == 0


async def test_without_a_stream_the_calm_looks_go_on(quiet: Watched, service: Service) -> None:
    await quiet.page.route(STREAM, lambda route: route.abort())
    await quiet.open(service.url)
    await quiet.is_live("reconnecting")
    quiet.asked.clear()
    await quiet.page.clock.run_for(FIVE_MINUTES)
    await quiet.has_asked("/v1/session", 3)


async def test_an_unknown_order_is_followed_by_news_alone(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    broker.order_switches(shownAfterSeconds=60)
    broker.break_call("place", "reset", after=True, times=1)
    page = watched.page
    await page.get_by_role("button", name="New order").click()
    await page.get_by_label("Symbol").fill("YESBANK-EQ")
    await page.get_by_label("Quantity").fill("10")
    await page.get_by_label("Price ₹", exact=True).fill("14.00")
    await page.get_by_role("button", name="Review order").click()
    await page.get_by_test_id("place").click()
    shown = page.locator("[data-outcome]")
    await expect(shown).to_have_attribute("data-outcome", "unknown")
    placement = f"/v1/placements/{(await shown.locator('> small').inner_text()).removeprefix('placement ')}"
    await watched.has_asked(placement)
    await watched.has_asked("/v1/placements", 2)  # the stream has told that it was sent
    await page.clock.run_for(FIVE_MINUTES)
    # By a timer it would be seventy. Some: the leap of the clock breaks off what is just being asked, for its patience.
    assert watched.asked[placement] < 20
    assert watched.asked["/v1/placements"] < 5
    broker.clear_order_switches()
    await expect(shown).to_have_attribute("data-outcome", "accepted")
    await expect(shown).to_contain_text("OPEN")


async def test_many_events_cause_one_reading_of_each_section(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    broker.order_switches(freezeQuantity=2)
    numbers = await placed(phone, quantity=20)
    assert len(numbers) == 10
    await expect(watched.row("orders", "YESBANK-EQ")).to_have_count(10)
    watched.asked.clear()
    broker.set_price("YESBANK-EQ", "13.00")
    await expect(watched.row("orders", "YESBANK-EQ", "COMPLETE")).to_have_count(10)
    await watched.has_asked("/v1/positions")
    await expect(watched.page.get_by_test_id("notice")).to_have_count(3)
    await watched.page.clock.run_for(10_000)
    assert watched.asked["/v1/positions"] <= 2  # one, or one more where the book was read amid the fills
    assert watched.asked["/v1/orders"] == 0


async def test_a_late_rejection_shows_by_itself_in_the_book_and_in_a_notice(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    broker.order_switches(rejectNext={"reason": RISK, "afterSeconds": 2})
    [number] = await placed(phone)
    await expect(watched.row("orders", "YESBANK-EQ")).to_contain_text("ACCEPTED")
    await watched.page.get_by_role("button", name="Refresh trades").focus()
    await expect(watched.row("orders", "YESBANK-EQ", "REJECTED")).to_contain_text(RISK)
    await expect(watched.row("placements", number)).to_contain_text("REJECTED")
    notice = watched.page.get_by_test_id("notice")
    await expect(notice).to_contain_text(f"YESBANK-EQ: rejected, {RISK}")
    await expect(watched.page.get_by_role("button", name="Refresh trades")).to_be_focused()
    await notice.get_by_role("button", name="Dismiss").click()
    await expect(notice).to_have_count(0)
    assert watched.asked["/v1/orders"] == 0


async def test_a_section_that_shows_what_was_before_the_fill_is_asked_again(
    watched: Watched, phone: Browser, broker: SimulatedBroker
) -> None:
    async def answer_as_of_yesterday(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, body=json.dumps({"positions": [], "asOf": "2020-01-01T00:00:00Z"}))

    await watched.page.route("**/v1/positions", answer_as_of_yesterday, times=1)
    await placed(phone)
    broker.set_price("YESBANK-EQ", "13.00")
    await expect(watched.row("positions", "YESBANK-EQ")).to_be_visible()
    assert watched.asked["/v1/positions"] == 2


async def test_the_day_so_far_is_no_news_to_whoever_opens_the_page(watched: Watched) -> None:
    seen = """async ([minutes, changes]) => {
        const { isFirstSight } = await import("/portal/wording.js");
        const brokerAt = new Date(Date.now() - minutes * 60_000).toISOString();
        return isFirstSight({ changes, brokerAt, seenAt: new Date().toISOString() }, 60_000);
    }"""
    told = [await watched.page.evaluate(seen, [minutes, changes]) for minutes in (0, 90) for changes in KINDS]
    assert told == [False, False, True, False]


async def test_new_orders_stand_where_a_book_read_anew_shows_them(watched: Watched, phone: Browser) -> None:
    before = len((await phone.get("/v1/orders")).json()["orders"])
    for quantity in (11, 12, 13):
        await placed(phone, quantity=quantity)
        await expect(watched.row("orders", f"0 / {quantity}")).to_be_visible()
    names = watched.page.get_by_test_id("orders").locator("button.link")
    await expect(names).to_have_count(before + 3)
    shown = await names.evaluate_all("all => all.map(({ id }) => id.replace('row-', ''))")
    assert shown == [each["orderNo"] for each in (await phone.get("/v1/orders")).json()["orders"]]
    assert watched.asked["/v1/orders"] == 0


@pytest.mark.parametrize(
    ("times", "stand"),
    [
        ([MORNING, NOON], ["a", "b", "new", "newer"]), ([NOON, MORNING], ["newer", "new", "a", "b"]),
        ([None, MORNING, NOON], ["a", "b", "c", "new", "newer"]), ([NOON], ["newer", "new", "a"]),
    ],
)  # fmt: skip
async def test_the_end_at_which_the_newest_stand_is_told_by_what_was_read(
    watched: Watched, times: list[str | None], stand: list[str]
) -> None:
    """Whatever time the broker gives those that came since: by its clock they may be older than all."""
    put = """async ([times, asOf]) => {
        const { withOrder } = await import("/portal/book.js");
        const read = { asOf, orders: times.map((placedAt, at) => ({ orderNo: "abc"[at], placedAt })) };
        const orders = ["new", "newer"].map((orderNo) => ({ orderNo, placedAt: asOf }));
        const come = orders.map((order) => ({ type: "OPEN", seenAt: asOf, order }));
        return come.reduce(withOrder, read).orders.map(({ orderNo }) => orderNo);
    }"""
    assert await watched.page.evaluate(put, [times, NIGHT]) == stand


async def test_a_notice_covers_nothing(watched: Watched, phone: Browser, broker: SimulatedBroker) -> None:
    places = """() => [document.getElementById("portal"), ...document.querySelectorAll(".note")]
        .map((each) => each.getBoundingClientRect()).map(({ top, bottom }) => [Math.round(top), Math.round(bottom)])"""
    [[top, window_end]] = await watched.page.evaluate(places)
    assert (top, window_end) == (0, 900)
    await placed(phone)
    broker.set_price("YESBANK-EQ", "13.00")
    await expect(watched.page.get_by_test_id("notice")).to_be_visible()
    [[top, end], [note_top, note_end]] = await watched.page.evaluate(places)
    assert 0 == top < end <= note_top < note_end <= window_end
    await watched.page.get_by_text("What errors look like").click()  # what is last on the page can be reached, too
    await expect(watched.page.get_by_text("About session-expired")).to_be_visible()
