"""An investor's honest frontend: it repeats what it does with the same key until it knows, and keeps every answer.

What comes to it is searched for what belongs to somebody else.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from app.clock import monotonic
from tests.support.production import FRONTEND
from tests.support.replicas import fresh_key
from tests.support.simulated import SimulatedBroker

SYMBOL = "YESBANK-EQ"
PATIENCE = 35.0  # seconds for one answer; the proxy has thirty
_REPEAT_AFTER = 0.5  # seconds, where nothing is said
_GIVE_UP_AFTER = 120.0  # seconds; a person would have called by then

_KNOWN = frozenset({200, 201, 202})
_COMES_AGAIN = frozenset({0, 409, 429, 502, 503, 504})
_USER, _ORDER_NO = re.compile(r"DRILL\d\d"), re.compile(r"\b\d{14}\b")


@dataclass(frozen=True)
class Answer:
    """One answer; without one `status` is 0 and `slug` says what went wrong on the way."""

    at: float
    user: str
    what: str
    status: int
    slug: str
    content: dict[str, Any] = field(repr=False)
    wait: float = 0.0
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        return self.status not in _KNOWN and self.slug != "order-refused"

    @property
    def kind(self) -> str:
        """Say what it was, for a table."""
        return f"{self.status} {self.slug}".strip() if self.status else self.slug


@dataclass
class Wish:
    """One thing meant, under one key, and all that was answered to it."""

    user: str
    key: str
    method: str
    path: str
    content: dict[str, Any] | None
    answers: list[Answer] = field(default_factory=list)

    @property
    def begun_at(self) -> float:
        """Return when it was sent for the first time."""
        return self.answers[0].at - self.answers[0].seconds

    @property
    def is_known(self) -> bool:
        """Say whether its frontend has been told what became of it: done, refused, or unknown."""
        return bool(self.answers) and not self.answers[-1].has_failed


@dataclass
class Diary:
    """Everything that all frontends did and were told."""

    answers: list[Answer] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    """What no answer may ever have."""
    order_nos: dict[str, set[str]] = field(default_factory=dict)
    """Which numbers of orders each user was shown."""

    def search(self, user: str, told: str) -> None:
        """Look for what is somebody else's in something that a user was told."""
        strangers = set(_USER.findall(told)) - {user}
        self.leaks += [f"{user} was told of {each}" for each in strangers]
        self.leaks += [f"{user} was told a secret" for secret in self.secrets if secret in told]
        self.order_nos.setdefault(user, set()).update(_ORDER_NO.findall(told))

    under_way: list[float] = field(default_factory=list)
    """When what has not been answered yet was asked."""

    def asked_between(self, begin: float, end: float) -> Sequence[Answer]:
        """Return the answers to what was asked then, however late they came."""
        return [each for each in self.answers if begin <= each.at - each.seconds <= end]


class Investor:
    """One signed-in investor at the one address of the service."""

    def __init__(self, client: aiohttp.ClientSession, url: str, user: str, cookie: str, diary: Diary) -> None:
        self.user = user
        self.cookie = cookie
        self.diary = diary
        self.client = client
        self.url = url
        self._cheap, self._dear = 0, 0

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: Any = None
    ) -> Answer:
        """Ask once, and write down what is answered."""
        began_at = monotonic()
        given = {"Cookie": self.cookie, **(headers or {})}
        self.diary.under_way.append(began_at)
        try:
            async with self.client.request(method, f"{self.url}{path}", headers=given, json=content) as answer:
                text = await answer.text()
                found = self._read(method, path, answer, text, began_at)
        except (aiohttp.ClientError, TimeoutError) as error:
            now = monotonic()
            found = Answer(now, self.user, _what(method, path), 0, type(error).__name__, {}, 0, now - began_at)
        finally:
            self.diary.under_way.remove(began_at)
        self.diary.answers.append(found)
        return found

    def _read(self, method: str, path: str, answer: aiohttp.ClientResponse, text: str, began_at: float) -> Answer:
        self.diary.search(self.user, text + "".join(answer.headers.values()))
        told: dict[str, Any] = json.loads(text) if text else {}
        slug = urlsplit(str(told["type"])).path.removeprefix("/problems/") if answer.status >= 400 else ""
        wait, now = float(answer.headers.get("Retry-After", "0")), monotonic()
        return Answer(now, self.user, _what(method, path), answer.status, slug, told, wait, now - began_at)

    async def read(self, card: str, *, afresh: bool = False) -> Answer:
        """Read one of the cards, where wished past every answer that is remembered."""
        return await self.ask("GET", f"/v1/{card}", {"Cache-Control": "no-cache"} if afresh else {})

    def order(self, *, fills: bool = False) -> Wish:
        """Mean a new order, of other terms than all before; one that fills costs more than the market price of 50."""
        if fills:
            self._dear += 1
        else:
            self._cheap += 1
        paise = 5000 + 5 * self._dear if fills else 500 + 5 * (self._cheap % 880)
        content = {
            "exchange": "NSE", "tradingSymbol": SYMBOL, "transactionType": "BUY", "quantity": 1, "product": "CNC",
            "orderType": "LIMIT", "price": f"{paise / 100:.2f}",
        }  # fmt: skip
        return self._mean("POST", "/v1/orders", content)

    def cancel(self, order_no: str) -> Wish:
        """Mean the cancel of an order."""
        return self._mean("DELETE", f"/v1/orders/{order_no}", None)

    def _mean(self, method: str, path: str, content: dict[str, Any] | None) -> Wish:
        wish = Wish(self.user, fresh_key(), method, path, content)
        self.diary.wishes.append(wish)
        return wish

    async def send(self, wish: Wish) -> Answer:
        """Send it once, or once more."""
        answer = await self.ask(wish.method, wish.path, {"Idempotency-Key": wish.key}, wish.content)
        wish.answers.append(answer)
        assert not answer.has_failed or answer.status in _COMES_AGAIN, (wish, answer)
        return answer

    async def insist_on_reading(self, card: str) -> Answer:
        """Read a card afresh, as soon as it can be had."""
        give_up_at = monotonic() + _GIVE_UP_AFTER
        while (answer := await self.read(card, afresh=True)).has_failed:
            assert monotonic() < give_up_at, answer
            await asyncio.sleep(answer.wait or _REPEAT_AFTER)
        return answer

    async def insist(self, wish: Wish) -> Answer:
        """Send it, with its one key, until it is known what became of it."""
        give_up_at = monotonic() + _GIVE_UP_AFTER
        while (answer := await self.send(wish)).has_failed:
            assert monotonic() < give_up_at, wish
            await asyncio.sleep(answer.wait or _REPEAT_AFTER)
        return answer


def _what(method: str, path: str) -> str:
    if method == "POST":
        return "place"
    if method == "DELETE":
        return "cancel"
    return "stream" if path.startswith("/v1/order-updates") else "read"


async def sign_in(client: aiohttp.ClientSession, url: str, broker: SimulatedBroker, user: str) -> str:
    """Sign somebody in over the whole way, and return what his browser sends from then on.

    Cookies are passed on by hand: theirs are Secure, and no jar sends them over plain HTTP.
    """
    async with client.get(f"{url}/sso/login", allow_redirects=False) as begun:
        assert begun.status == 303, await begun.text()
        attempt = begun.headers["Set-Cookie"].partition(";")[0]
    parameters = await asyncio.to_thread(broker.code_for, user)
    async with client.get(
        f"{url}/sso/callback", params=parameters, headers={"Cookie": attempt}, allow_redirects=False
    ) as back:
        assert back.status == 303, await back.text()
        set_here = [each.partition(";")[0] for each in back.headers.getall("Set-Cookie")]
    return next(each for each in set_here if each.startswith("__Host-session="))


def browsers() -> aiohttp.ClientSession:
    """Return what all frontends send their requests with; to be closed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        headers={"Origin": FRONTEND},
    )
