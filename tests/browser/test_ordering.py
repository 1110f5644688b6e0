"""Orders in a real browser: placed once, told honestly, changed and cancelled, with the keyboard and on a phone."""

import asyncio
import re

import asyncpg
from playwright.async_api import APIResponse, Locator, Page, Route, expect

from tests.browser.steps import IN_A_BROWSER, settled
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER

FOUND_OUT = 15_000  # milliseconds; the second look comes five seconds after the first


async def fill_ticket(page: Page, *, quantity: str = "11", price: str = "14.10") -> None:
    await page.get_by_role("button", name="New order").click()
    await page.get_by_label("Symbol").fill("idea-eq")
    await page.get_by_label("Quantity").fill(quantity)
    await page.get_by_label("Price ₹", exact=True).fill(price)


async def review(page: Page) -> None:
    await page.get_by_role("button", name="Review order").click()
    await expect(page.get_by_test_id("margin")).to_be_visible()


async def place(page: Page, *, quantity: str = "11", price: str = "14.10") -> None:
    await fill_ticket(page, quantity=quantity, price=price)
    await review(page)
    await page.get_by_test_id("place").click()


async def close(page: Page) -> None:
    await page.get_by_role("dialog").get_by_role("button", name="Close").last.click()


def outcome(page: Page, kind: str) -> Locator:
    return page.locator(f'[data-outcome="{kind}"]')


def book_row(page: Page, *texts: str) -> Locator:
    found = page.get_by_test_id("orders").get_by_role("row")
    for text in texts:
        found = found.filter(has_text=text)
    return found


async def test_a_limit_order_is_reviewed_placed_and_stands_in_the_book(portal: Page, broker: SimulatedBroker) -> None:
    await fill_ticket(portal, quantity="2000")
    await review(portal)
    await expect(portal.get_by_test_id("margin")).to_contain_text("28,200.00")
    await expect(portal.get_by_test_id("margin")).to_contain_text("Short by")
    await portal.get_by_role("button", name="Change it").click()
    await portal.get_by_label("Quantity").fill("11")
    await review(portal)
    await expect(portal.get_by_test_id("summary")).to_contain_text("Buy 11 IDEA-EQ")
    assert broker.taken() == []
    await portal.get_by_test_id("place").click()
    await expect(outcome(portal, "accepted")).to_contain_text("The broker has taken the order")
    [order] = broker.taken("AB1234")
    await expect(outcome(portal, "accepted")).to_contain_text(order["orderNo"])
    await expect(outcome(portal, "accepted")).to_contain_text("OPEN")
    await close(portal)
    await expect(portal.get_by_role("button", name="New order")).to_be_focused()
    await expect(book_row(portal, "0 / 11", "14.10")).to_contain_text("OPEN")
    await expect(portal.get_by_test_id("placements")).to_contain_text(order["orderNo"])
    sent = order["item"]
    assert (sent["tradingSymbol"], sent["qty"], sent["price"]) == ("IDEA-EQ", "11", "14.10")


async def test_double_clicks_place_one_order(portal: Page, broker: SimulatedBroker) -> None:
    await fill_ticket(portal)
    await portal.get_by_role("button", name="Review order").dblclick()
    await expect(portal.get_by_test_id("margin")).to_be_visible()
    assert broker.taken() == []
    await portal.get_by_test_id("place").dblclick()
    await expect(outcome(portal, "accepted")).to_be_visible()
    assert len(broker.taken()) == 1
    assert len(broker.received("place")) == 1


async def test_an_unknown_order_is_told_as_such_and_becomes_known_by_itself(
    portal: Page, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "reset", after=True, times=1)
    await place(portal)
    await expect(outcome(portal, "unknown")).to_contain_text("Nobody knows yet")
    await expect(outcome(portal, "unknown")).to_contain_text("Don't send it again")
    await expect(outcome(portal, "accepted")).to_contain_text("OPEN", timeout=FOUND_OUT)
    await close(portal)
    await expect(book_row(portal, "0 / 11")).to_contain_text("OPEN")
    assert len(broker.taken()) == 1


async def test_what_becomes_known_later_is_told_in_the_list_of_placements(
    portal: Page, broker: SimulatedBroker
) -> None:
    broker.break_call("place", "reset", after=True, times=1)
    await place(portal)
    await expect(outcome(portal, "unknown")).to_be_visible()
    await close(portal)
    await expect(portal.get_by_test_id("placements")).to_contain_text("unknown")
    await expect(portal.get_by_test_id("placements")).to_contain_text("accepted", timeout=FOUND_OUT)
    await expect(book_row(portal, "0 / 11")).to_contain_text("OPEN")


async def test_a_lost_answer_is_asked_for_again_with_the_same_key_even_while_the_first_is_under_way(
    portal: Page, broker: SimulatedBroker
) -> None:
    keys: list[str] = []
    sent: list[asyncio.Task[APIResponse]] = []

    async def lose_the_first(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        keys.append(route.request.headers["idempotency-key"])
        if sent:
            await route.continue_()
            return
        sent.append(asyncio.create_task(route.fetch()))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if broker.received("place"):
                break
        await route.abort()

    broker.break_call("place", "slow", seconds=2, times=1)
    await portal.route("**/v1/orders", lose_the_first)
    await place(portal)
    await expect(outcome(portal, "unsure")).to_contain_text("We don't know whether it arrived")
    await portal.get_by_role("button", name="Ask again").click()
    await expect(outcome(portal, "accepted")).to_contain_text("No second one was sent")
    await sent[0]
    first = len(keys)
    assert first > 2, "the second was not sent while the first was under way"
    await close(portal)
    await place(portal)  # meant once more, it is another order
    await expect(outcome(portal, "accepted")).to_be_visible()
    assert len(set(keys[:first])) == 1
    assert keys[first] != keys[0]
    assert len(broker.taken()) == 2


async def test_a_second_equal_order_needs_two_confirmations(portal: Page, broker: SimulatedBroker) -> None:
    broker.break_call("place", "reset", after=True, times=1)
    broker.order_switches(shownAfterSeconds=60)
    await place(portal)
    await expect(outcome(portal, "unknown")).to_be_visible()
    await close(portal)
    await place(portal)
    await expect(portal.get_by_role("heading", name="Nothing has been sent")).to_be_visible()
    await expect(outcome(portal, "unknown")).to_be_visible()
    await portal.get_by_role("button", name="Send another one anyway").dblclick()
    await expect(portal.get_by_role("dialog")).to_contain_text("Do you mean a second one?")
    assert len(broker.taken()) == 1
    await portal.get_by_role("button", name="Yes, send a second order").click()
    await expect(outcome(portal, "accepted")).to_be_visible()
    assert len(broker.taken()) == 2


async def test_refusals_give_the_reason_and_lead_back_to_the_order(portal: Page, broker: SimulatedBroker) -> None:
    broker.order_switches(refuseNext="RED:RMS: blocked for this scrip")
    await place(portal)
    await expect(outcome(portal, "refused")).to_contain_text("RED:RMS: blocked for this scrip")
    await portal.get_by_role("button", name="Change it").click()
    await expect(portal.get_by_label("Quantity")).to_have_value("11")
    assert broker.taken() == []
    broker.order_switches(rejectNext={"reason": "RED:Margin Shortfall:INR 12", "afterSeconds": 0})
    await review(portal)
    await portal.get_by_test_id("place").click()
    await expect(outcome(portal, "accepted")).to_contain_text("Taken, and then refused", timeout=FOUND_OUT)
    await expect(outcome(portal, "accepted")).to_contain_text("RED:Margin Shortfall:INR 12")
    await close(portal)
    await expect(book_row(portal, "INR 12")).to_contain_text("REJECTED")
    await expect(portal.get_by_test_id("placements")).to_contain_text("RED:Margin Shortfall:INR 12")


async def test_what_is_wrong_is_said_at_its_field(portal: Page, broker: SimulatedBroker) -> None:
    await fill_ticket(portal, price="")
    await expect(portal.get_by_label("Trigger price ₹")).to_be_hidden()
    await portal.get_by_role("button", name="Review order").click()
    await expect(portal.get_by_label("Price ₹", exact=True)).to_have_accessible_description("is needed")
    await portal.get_by_role("radio", name="Stop limit").check()
    await portal.get_by_label("Price ₹", exact=True).fill("14.10")
    await portal.get_by_label("Trigger price ₹").fill("14.20")
    await portal.get_by_role("button", name="Review order").click()
    trigger = portal.get_by_label("Trigger price ₹")
    await expect(trigger).to_have_accessible_description("must not be above price when buying")
    await expect(trigger).to_be_focused()
    await portal.get_by_role("radio", name="Market", exact=True).check()
    await expect(trigger).to_be_hidden()
    await expect(portal.get_by_label("Price ₹", exact=True)).to_be_hidden()
    await portal.get_by_label("Product").select_option("MTF")
    await review(portal)
    await portal.get_by_test_id("place").click()
    await expect(portal.get_by_label("Product")).to_have_accessible_description(
        re.compile("is not open to this account")
    )
    assert broker.taken() == []


async def test_a_halt_and_an_ended_broker_session_are_told_and_nothing_is_sent(
    portal: Page, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    await rows.execute("INSERT INTO halts VALUES ('*', 'The exchange has an outage.', 'ops', now())")
    await place(portal)
    await expect(portal.get_by_role("dialog")).to_contain_text("Trading is halted")
    await expect(portal.get_by_role("dialog")).to_contain_text("The exchange has an outage.")
    await rows.execute("DELETE FROM halts")
    await portal.get_by_role("button", name="Change it").click()
    await review(portal)
    broker.expire()
    await portal.get_by_test_id("place").click()
    await expect(portal.get_by_role("dialog").get_by_role("link", name="Sign in again")).to_be_visible()
    await expect(portal.get_by_role("dialog")).to_contain_text("It was not carried out")
    await close(portal)
    await expect(portal.get_by_test_id("banner")).to_be_visible()
    assert broker.taken() == []


async def test_an_open_order_is_modified_and_cancelled(portal: Page, broker: SimulatedBroker) -> None:
    await portal.get_by_role("button", name="Modify IDEA-EQ").click()
    await portal.get_by_role("button", name="Change the order").click()
    await expect(portal.get_by_label("Total quantity")).to_have_accessible_description(
        "nothing has been changed so far"
    )
    await portal.get_by_label("Price ₹").fill("14.05")
    await portal.get_by_role("button", name="Change the order").click()
    await expect(outcome(portal, "accepted")).to_contain_text("The broker has taken the change")
    await close(portal)
    await expect(book_row(portal, "40 / 100")).to_contain_text("14.05")
    await portal.get_by_role("button", name="Cancel IDEA-EQ").click()
    await expect(portal.get_by_role("button", name="Keep it")).to_be_focused()
    await portal.get_by_role("button", name="Cancel the order").click()
    await expect(outcome(portal, "accepted")).to_contain_text("The broker has taken the cancel")
    await close(portal)
    await expect(book_row(portal, "40 / 100")).to_contain_text("CANCELLED")
    assert [each["body"]["qty"] for each in broker.received("modify")] == ["100"]


async def test_all_open_orders_and_whole_placements_are_cancelled(portal: Page, broker: SimulatedBroker) -> None:
    broker.order_switches(freezeQuantity=6)
    await place(portal)
    await expect(outcome(portal, "accepted").get_by_role("listitem")).to_have_count(2)
    await close(portal)
    await portal.get_by_role("button", name="Cancel all of Buy 11 IDEA-EQ").click()
    await portal.get_by_role("button", name="Cancel all of it").last.click()
    await expect(portal.get_by_test_id("outcome").get_by_text("accepted")).to_have_count(2)
    await close(portal)
    await portal.get_by_role("button", name="Cancel all open").click()
    await portal.get_by_role("button", name="Cancel all", exact=True).click()
    await expect(portal.get_by_test_id("outcome").get_by_text("accepted")).to_have_count(3)
    await close(portal)
    await expect(portal.get_by_role("button", name=re.compile("^Modify"))).to_have_count(0)


async def test_a_position_is_converted(portal: Page, broker: SimulatedBroker) -> None:
    await portal.get_by_role("button", name="Convert TATASTEEL-EQ").click()
    await portal.get_by_label("Quantity").fill("5")
    await portal.get_by_label("Convert to").select_option("MIS")
    await portal.get_by_role("button", name="Convert", exact=True).click()
    await expect(outcome(portal, "accepted")).to_contain_text("The broker has taken the conversion")
    await close(portal)
    positions = portal.get_by_test_id("positions").get_by_role("row")
    await expect(positions.filter(has_text="MIS")).to_contain_text("5")
    await expect(positions.filter(has_text="CNC")).to_contain_text("15")


async def test_the_keyboard_alone_places_an_order(portal: Page, broker: SimulatedBroker) -> None:
    await portal.get_by_role("button", name="New order").focus()
    await portal.keyboard.press("Enter")
    await expect(portal.get_by_label("Symbol")).to_be_focused()
    await portal.keyboard.type("IDEA-EQ")
    for keys in ("Tab", "Tab", "7", "Tab", "Tab", "Tab", "14.10", "Enter"):
        await (portal.keyboard.press(keys) if keys in {"Tab", "Enter"} else portal.keyboard.type(keys))
    await expect(portal.get_by_role("heading", name="Review your order")).to_be_focused()
    await portal.keyboard.press("Tab")
    await expect(portal.get_by_test_id("place")).to_be_focused()
    await portal.keyboard.press("Enter")
    await expect(outcome(portal, "accepted")).to_be_visible()
    await portal.keyboard.press("Escape")
    await expect(portal.get_by_role("button", name="New order")).to_be_focused()
    assert [each["qty"] for each in broker.taken()] == ["7"]


async def test_a_phone_shows_all_of_it_without_scrolling_sideways(portal: Page) -> None:
    await portal.set_viewport_size({"width": 320, "height": 700})
    await settled(portal, "placements", "empty")
    await place(portal)
    await expect(outcome(portal, "accepted")).to_be_visible()
    await close(portal)
    await settled(portal, "placements", "ready")
    await portal.locator("summary").click()
    assert await portal.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await portal.get_by_role("button", name="Modify IDEA-EQ").first.click()
    dialog = portal.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    assert await dialog.evaluate("(node) => node.scrollWidth <= node.clientWidth && node.clientWidth <= innerWidth")
    button = await portal.get_by_role("button", name="Change the order").bounding_box()
    assert button
    assert button["x"] + button["width"] <= 320
