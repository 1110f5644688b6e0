"""Another site in a real browser: whatever its page tries, nothing is done in the investor's name and nothing is read.

The service is at 127.0.0.1 and the other page at localhost, which is another site to Chromium. The cookie is one that a
browser sends from other sites, too, save where a test says otherwise: ours is Lax, and here the gates stand alone.
"""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import asyncpg
import pytest
from playwright.async_api import BrowserContext, Page, expect
from typing_extensions import override

from tests.browser.steps import IN_A_BROWSER, settled
from tests.support.investor import signed_in
from tests.support.replicas import ORDER
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

pytestmark = IN_A_BROWSER

TEXT = 'document.body ? document.body.innerText : ""'


class _OtherPage(BaseHTTPRequestHandler):
    """An empty page without any rule of its own."""

    def do_GET(self) -> None:
        content = b"<!doctype html><title>Elsewhere</title><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OtherPage)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Attack:
    """A page of another site in the browser of an investor who is signed in."""

    page: Page
    service_url: str

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run a function of the page with the service's address and what else it needs."""
        return await self.page.evaluate(script, [self.service_url, *arguments])


@pytest.fixture
async def attack(
    request: pytest.FixtureRequest, context: BrowserContext, service: Service, broker: SimulatedBroker, elsewhere: str,
    rows: asyncpg.Connection,
) -> AsyncIterator[Attack]:  # fmt: skip
    """Give the other page, and see to it that nothing came of whatever it tried."""
    same_site: Literal["Lax", "None"] = getattr(request, "param", "None")
    async with signed_in(service, broker) as investor:
        token = investor.cookies["session"]
        await context.add_cookies([{
            "name": "session", "value": token, "httpOnly": True, "sameSite": same_site, "secure": same_site == "None",
            "url": service.url.replace("http:", "https:") if same_site == "None" else service.url,
        }])  # fmt: skip
        exchanges = len(broker.received("exchange"))
        page = await context.new_page()
        await page.goto(elsewhere)
        yield Attack(page, service.url)
        assert len(broker.received("exchange")) == exchanges
        assert broker.taken() == []
        assert await rows.fetchval("SELECT count(*) FROM intents") == 0
        assert await rows.fetchval("SELECT count(*) FROM spent_auth_codes") == 1
        assert await rows.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 1
        assert {each["name"]: each["value"] for each in await context.cookies()} == {"session": token}
        assert (await investor.get("/v1/session")).json()["user"]["id"] == "AB1234"


FETCH = """async ([service, path, options]) => {
    try {
        const answer = await fetch(service + path, {credentials: "include", ...options});
        return [answer.status, await answer.text()];
    } catch (error) { return [error.name, ""]; }
}"""
FORM = """([service, path, fields]) => {
    const form = document.createElement("form");
    Object.assign(form, {action: service + path, method: "post", enctype: "text/plain"});
    for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement("input"), {name, value}));
    }
    document.body.append(form);
    form.submit();
}"""
PART = """([service, path, kind]) => new Promise(resolve => {
    const part = document.createElement(kind);
    part.onload = () => resolve("load");
    part.onerror = () => resolve("error");
    part.src = service + path;
    document.body.append(part);
})"""
EVENTS = """([service, path]) => new Promise(resolve => {
    const events = new EventSource(service + path, {withCredentials: true});
    events.onopen = () => resolve("open");
    events.onmessage = () => resolve("message");
    events.onerror = () => { resolve("error " + events.readyState); events.close(); };
})"""
OPEN = "([service, path]) => { window.opened = window.open(service + path); }"


async def test_from_our_own_page_the_same_cookie_may_act(attack: Attack) -> None:
    """What the other tests see fail is no fault of the cookie or of the browser."""
    await attack.page.goto(f"{attack.service_url}/portal/")
    await settled(attack.page, "profile", "ready")
    status, text = await attack.run(FETCH, "/v1/session", {})
    assert (status, "AB1234" in text) == (200, True)
    status, text = await attack.run(FETCH, "/v1/sessions/none", {"method": "DELETE"})
    assert status in {404, 422}
    assert "cross-site-request" not in text
    assert "cross-site-request" not in (await attack.run(FETCH, "/v1/order-updates", {"method": "HEAD"}))[1]


@pytest.mark.parametrize("attack", ["Lax", "None"], indirect=True)
async def test_its_scripts_place_nothing_end_nothing_and_read_nothing(attack: Attack) -> None:
    order = json.dumps(ORDER)
    tries: list[tuple[str, dict[str, Any]]] = [
        ("/v1/orders", {"method": "POST", "body": order}),
        ("/v1/orders", {"method": "POST", "body": order, "mode": "no-cors"}),
        ("/v1/orders", {"method": "POST", "body": order, "headers": {"Idempotency-Key": "k" * 20}}),
        ("/v1/session", {"method": "DELETE"}),
        ("/v1/sessions", {"method": "DELETE"}),
        ("/v1/orders", {"method": "DELETE"}),
        ("/v1/funds", {}),
        ("/v1/funds", {"mode": "no-cors"}),
        ("/v1/order-updates", {}),
    ]
    for path, options in tries:
        assert await attack.run(FETCH, path, options) == ["TypeError", ""]
    assert await attack.run(EVENTS, "/v1/order-updates") == "error 2"  # closed for good: the browser tries no more
    assert await attack.run(PART, "/v1/funds", "script") == "error"


@pytest.mark.parametrize(("attack", "is_sent"), [("Lax", False), ("None", True)], indirect=["attack"])
async def test_its_forms_are_refused(attack: Attack, is_sent: bool) -> None:
    async with attack.page.expect_navigation() as arriving:
        await attack.run(FORM, "/v1/orders", {'{"quantity":1,"x":"': '"}'})
    answer = await arriving.value
    assert answer is not None
    sent = await answer.request.all_headers()
    assert ("cookie" in sent) is is_sent
    assert sent["origin"].startswith("http://localhost:")
    assert answer.status == 403
    assert "cross-site-request" in await attack.page.evaluate(TEXT)


async def test_its_pictures_begin_and_finish_no_login(attack: Attack, broker: SimulatedBroker) -> None:
    code = broker.code_for("EMPTY01")
    back = f"/sso/callback?authCode={code['authCode']}&userId={code['userId']}"
    for path in ("/sso/login", back):
        assert await attack.run(PART, path, "img") == "error"
        assert await attack.run(PART, path, "script") == "error"
        assert await attack.run(FETCH, path, {"mode": "no-cors"}) == ["TypeError", ""]


async def test_its_frames_stay_empty(attack: Attack) -> None:
    for path in ("/portal/", "/sso/login", "/problems/not-found", "/v1/session", "/docs"):
        async with attack.page.expect_event("requestfailed"):
            await attack.run(PART, path, "iframe")
    for frame in attack.page.frames[1:]:
        assert not frame.url.startswith(attack.service_url)
        assert "AB1234" not in await frame.content()


async def test_its_windows_show_a_page_that_asks_first(
    attack: Attack, context: BrowserContext, broker: SimulatedBroker
) -> None:
    async with context.expect_page() as opening:
        await attack.run(OPEN, "/sso/login")
    window = await opening.value
    await expect(window.get_by_role("button", name="Go on to Gopocket")).to_be_visible()
    assert window.url == f"{attack.service_url}/sso/login"
    assert await attack.page.evaluate("window.opened.closed")  # cut off: what it shows is not the other page's to steer
    code = broker.code_for("EMPTY01")
    async with context.expect_page() as opening:
        await attack.run(OPEN, f"/sso/callback?authCode={code['authCode']}&userId={code['userId']}")
    window = await opening.value
    await expect(window.get_by_text("(403)").or_(window.get_by_text("(400)"))).to_be_visible()
