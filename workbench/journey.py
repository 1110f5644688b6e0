"""The whole way of an investor without a browser: sign in, look, place, cancel, log out; each step told."""

import secrets
import ssl
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
from typing_extensions import override

INVESTOR = "AB1234"
ORDER = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 1, "product": "CNC",
    "orderType": "LIMIT", "price": "13.90",
}  # fmt: skip
"""Waits below the simulator's price."""
_REDIRECTS = {302, 303}


class StepFailed(Exception):  # told to a person
    """One step did not give what it must give."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"{step}: {why}")


def walk(base_url: str, tell: Callable[[str], None], *, trusted: ssl.SSLContext | bool = True) -> None:
    """Take every step against a running backend and its simulator; raises `StepFailed` at the first that fails."""
    with httpx.Client(timeout=20, follow_redirects=False, verify=trusted, trust_env=False) as browser:
        _step("sign in", lambda: _sign_in(browser, base_url), tell)
        for step, path, told in (
            ("profile", "/v1/profile", _told_profile),
            ("funds", "/v1/funds", _told_funds),
            ("holdings", "/v1/holdings", _told_holdings),
            ("positions", "/v1/positions", _told_positions),
            ("orders", "/v1/orders", _told_orders),
        ):
            _step(step, lambda path=path, told=told: told(_json(browser.get(base_url + path))), tell)  # type: ignore[misc]
        _step("place", lambda: _place(browser, base_url), tell)
        _step("cancel", lambda: _cancel(browser, base_url), tell)
        _step("log out", lambda: _log_out(browser, base_url), tell)


def _step(name: str, take: Callable[[], str], tell: Callable[[str], None]) -> None:
    try:
        tell(f"{name:<10} {take()}")
    except (httpx.HTTPError, KeyError, ValueError, IndexError) as error:
        raise StepFailed(name, f"{type(error).__name__}: {error}") from error


def _sign_in(browser: httpx.Client, base_url: str) -> str:
    """Do what a browser does: go to the broker, fill in its form, follow it back."""
    to_broker = _redirect(browser.get(f"{base_url}/sso/login"))
    page = browser.get(to_broker)
    form = _Form(page.text)
    filled = {**form.fields, "userId": INVESTOR}
    back = _redirect(browser.post(urljoin(to_broker, form.action), data=filled))
    home = _redirect(browser.get(back))
    session = _json(browser.get(f"{base_url}/v1/session"))
    user, until = session["user"], session["broker"]["expiresAt"]
    return f"{user['name']} ({user['id']}), broker session until {until}, back at {home}"


def _place(browser: httpx.Client, base_url: str) -> str:
    """Place one order, and send it again with the same key as if the first answer had been lost."""
    headers = {"Origin": base_url, "Idempotency-Key": secrets.token_hex(16)}
    first, again = (_json(browser.post(f"{base_url}/v1/orders", json=ORDER, headers=headers)) for _ in range(2))
    if first["placementId"] != again["placementId"]:
        raise ValueError("the same key has placed two orders")
    numbers = ", ".join(each["orderNo"] for each in first["orders"])
    return f"{first['outcome']} as {numbers}; sent again with the same key it is the same one"


def _cancel(browser: httpx.Client, base_url: str) -> str:
    """Cancel what was placed, and find it cancelled in the book."""
    [newest, *_] = _json(browser.get(f"{base_url}/v1/placements"))["placements"]
    number = newest["orders"][0]["orderNo"]
    done = _json(browser.delete(f"{base_url}/v1/orders/{number}", headers={"Origin": base_url}))
    book = _json(browser.get(f"{base_url}/v1/orders"))["orders"]
    status = next(each["status"] for each in book if each["orderNo"] == number)
    if status != "CANCELLED":
        raise ValueError(f"the order is {status} in the book")
    return f"{done['outcome']}, and the book has {number} as {status}"


def _log_out(browser: httpx.Client, base_url: str) -> str:
    answer = browser.delete(f"{base_url}/v1/session", headers={"Origin": base_url})
    if answer.status_code != 204:  # noqa: PLR2004  # No Content
        raise ValueError(_told_failure(answer))
    after = browser.get(f"{base_url}/v1/session").status_code
    if after != 401:  # noqa: PLR2004  # Unauthorized
        raise ValueError(f"the session still answers {after}")
    return "204, and the session answers 401 from now on"


def _told_profile(profile: dict[str, Any]) -> str:
    return f"{profile['name']}, PAN {profile['pan']}, mobile {profile['mobile']}, {', '.join(profile['exchanges'])}"


def _told_funds(funds: dict[str, Any]) -> str:
    return f"available {funds['availableMargin']}, used {funds['marginUsed']}, opening {funds['openingBalance']} rupees"


def _told_holdings(answer: dict[str, Any]) -> str:
    rows = answer["holdings"]
    return f"{len(rows)}: " + ", ".join(
        f"{row['quantity']} {row['tradingSymbol']} at {row['lastPrice']}" for row in rows
    )


def _told_positions(answer: dict[str, Any]) -> str:
    rows = answer["positions"]
    return f"{len(rows)}: " + ", ".join(f"{row['netQuantity']} {row['tradingSymbol']} {row['product']}" for row in rows)


def _told_orders(answer: dict[str, Any]) -> str:
    rows = answer["orders"]
    told = (f"{row['transactionType']} {row['quantity']} {row['tradingSymbol']} {row['status']}" for row in rows)
    return f"{len(rows)}: " + ", ".join(told)


def _redirect(answer: httpx.Response) -> str:
    if answer.status_code not in _REDIRECTS:
        raise ValueError(_told_failure(answer))
    return urljoin(str(answer.url), answer.headers["Location"])


def _json(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise ValueError(_told_failure(answer))
    content: dict[str, Any] = answer.json()
    return content


def _told_failure(answer: httpx.Response) -> str:
    return f"{answer.status_code} from {answer.request.method} {answer.url.copy_with(query=None)}: {answer.text[:300]}"


class _Form(HTMLParser):
    """The first form of a page: where it goes and what is filled in already."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and not self.action:
            self.action = given.get("action") or ""
        name = given.get("name")
        if tag == "input" and name and given.get("type") != "radio":
            self.fields[name] = given.get("value") or ""
