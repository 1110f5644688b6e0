"""What is posted to us has a book looked at and nothing else: whoever posts learns nothing, and no word is believed."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conftest import create_clone, empty
from tests.support.configured import API_SECRET, configured
from tests.support.replicas import Store, Trader, received, trading, until
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker
from tests.support.streams import book_reads, first_look_is_over, listening, webhook_token

OTHER = "ZZ9999"
SYMBOL, SEEDED = "YESBANK-EQ", "IDEA-EQ"
NEVER = "300"  # seconds; no poll comes by itself in a test


@pytest.fixture(scope="session")
async def hints_database(worker: str) -> str:
    return await create_clone(f"hints_{worker}")


@pytest.fixture
async def store(hints_database: str, broker: SimulatedBroker) -> AsyncIterator[Store]:
    async with Store.open(hints_database) as store:
        yield store
    await empty(hints_database)


@pytest.fixture
async def home(store: Store, hints_database: str, broker: SimulatedBroker) -> AsyncIterator[Service]:
    """Give a service that the broker reaches, and that reads no book unless somebody says so."""
    async with told_by_broker(hints_database, broker, NEVER) as service:
        yield service


@asynccontextmanager
async def told_by_broker(database_url: str, broker: SimulatedBroker, pace: str) -> AsyncIterator[Service]:
    settings = configured(database_url, broker.url, order_webhooks=True, order_poll_interval=pace)
    async with serving(settings) as service:
        yield service


@asynccontextmanager
async def subscribed(service: Service, broker: SimulatedBroker, user: str = "AB1234") -> AsyncIterator[Trader]:
    """Give an investor who has signed in, whom the broker posts for, and whose book has been read once."""
    async with trading(service, broker, user) as trader:
        trader.headers["Origin"] = service.url
        await webhook_token(broker, user)
        assert (await trader.get("/v1/orders")).status_code == 200
        yield trader


async def answered(service: Service, token: str, body: bytes = b"", *lines: str, method: str = "POST") -> bytes:
    """Return every byte of an answer, but for the two headers that are never the same twice."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (f"{method} /broker/webhooks/{token} HTTP/1.1", "Host: x", "Connection: close", *lines)
    length = () if "Transfer-Encoding: chunked" in lines else (f"Content-Length: {len(body)}",)
    writer.write("\r\n".join([*head, *length, "", ""]).encode() + body)
    answer = await reader.read()
    writer.close()
    return re.sub(rb"(?im)^(date|x-request-id): [^\r]*\r\n", b"", answer)


JSON = "Content-Type: application/json"


BODIES = (
    b"", b"{", b"\x00\xff\xfe", b"null", b"[]", b"7" * 5000, b"[" * 30_000 + b"]" * 30_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"x" * 60_000, b'{"checksum": "x"}',
    b'{"checksum": {"a": []}, "order_id": "\\ud800"}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
)  # fmt: skip


async def test_every_post_is_answered_alike(home: Service, broker: SimulatedBroker) -> None:
    async with subscribed(home, broker):
        token = await webhook_token(broker)
        honest = json.dumps({"norenordno": "1", "status": "COMPLETE"}).encode()
        usual = await answered(home, token, honest, JSON)
        assert usual.startswith(b"HTTP/1.1 200 OK\r\n")
        assert usual.endswith(b"\r\n\r\n")
        for body in BODIES:
            assert await answered(home, token, body, JSON) == usual, body[:40]
        for other in ("x", token[:-1], f"{token}A", "a" * 2000, "%00", "%F0%9F%92%B0", "%ff%fe", "..%00", "%20", "~"):
            assert await answered(home, other, honest, JSON) == usual, other
        for line in ("Content-Type: text/plain", "Content-Type: multipart/form-data",
                     "Cookie: session=x", "Accept: text/html", "X-Forwarded-For: x",
                     "Content-Encoding: gzip", "Authorization: Bearer x", "Expect: 200-ok"):  # fmt: skip
            assert await answered(home, token, honest, line) == usual, line
        of_another_site = [await answered(home, each, honest, "Origin: https://evil.example") for each in (token, "x")]
        assert of_another_site[0] == of_another_site[1]
        assert await answered(home, token, b"5\r\nhello\r\n0\r\n\r\n", JSON, "Transfer-Encoding: chunked") == usual


async def test_nobody_gets_anything_there(home: Service, broker: SimulatedBroker) -> None:
    async with subscribed(home, broker):
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            known, unknown = [await answered(home, each, method=method) for each in (await webhook_token(broker), "x")]
            assert known == unknown
            assert known.startswith(b"HTTP/1.1 405 "), method


def with_checksum(*, is_right: bool) -> bytes:
    """Return what the broker's older page shows (contract §8)."""
    moment = "2026-07-01 10:00:00"
    proof = hashlib.sha256(f"1{moment}{API_SECRET if is_right else 'wrong'}".encode()).hexdigest()
    return json.dumps({"order_id": "1", "order_timestamp": moment, "status": "COMPLETE", "checksum": proof}).encode()


async def due(store: Store) -> None:
    """Let whatever is hinted be followed at once, as if nobody had looked for long."""
    await store.rows.execute("UPDATE book_looks SET looked_at = NULL, hinted_at = NULL, hint_gap = 1")


async def is_followed(service: Service, store: Store, broker: SimulatedBroker, token: str, body: bytes) -> bool:
    """Say whether a post has the book of AB1234 read: a post for another user, behind it, surely has."""
    await due(store)
    before = book_reads(broker)
    await answered(service, token, body, JSON)
    await answered(service, await webhook_token(broker, OTHER), b"", JSON)

    async def is_other_followed() -> bool:
        """Say whether a look has come after his hint; another reason to look, such as his sign-in, is none."""
        return bool(await store.rows.fetchval("SELECT looked_at > hinted_at FROM book_looks WHERE user_id = $1", OTHER))

    await until(is_other_followed)
    await looks_are_over(store)
    is_hinted = await store.rows.fetchval("SELECT hinted_at IS NOT NULL FROM book_looks WHERE user_id = 'AB1234'")
    assert bool(is_hinted) == (book_reads(broker) > before)
    return book_reads(broker) > before


async def looks_are_over(store: Store) -> None:
    async def are_over() -> bool:
        return not await store.rows.fetchval("SELECT count(*) FROM book_looks WHERE lease_until > now()")

    await until(are_over)


async def test_what_claims_a_checksum_must_have_the_right_one(
    home: Service, store: Store, broker: SimulatedBroker
) -> None:
    broker.add_investor(OTHER)
    async with subscribed(home, broker), subscribed(home, broker, OTHER):
        token = await webhook_token(broker)
        assert await is_followed(home, store, broker, token, with_checksum(is_right=True))
        assert await is_followed(home, store, broker, token, b'{"norenordno": "1"}')
        assert await is_followed(home, store, broker, token, b"garbage")
        upper = with_checksum(is_right=True).replace(b"checksum", b"checkSum")
        assert await is_followed(home, store, broker, token, upper)
        for wrong in (with_checksum(is_right=False), with_checksum(is_right=False).replace(b"checksum", b"CHECKSUM"),
                      b'{"checksum": ""}', b'{"checksum": null, "order_id": "1", "order_timestamp": "x"}'):  # fmt: skip
            assert not await is_followed(home, store, broker, token, wrong), wrong
        assert not await is_followed(home, store, broker, f"{token}x", b"{}")


async def test_a_hint_for_whom_nobody_can_ask_costs_the_broker_nothing(
    home: Service, store: Store, broker: SimulatedBroker
) -> None:
    broker.add_investor(OTHER)
    async with subscribed(home, broker) as asha, subscribed(home, broker, OTHER):
        token = await webhook_token(broker)
        broker.expire()
        assert (await asha.get("/v1/funds")).status_code == 401
        assert not await is_followed(home, store, broker, token, b"{}")
        before = len(broker.received("orderBook"))
        await asha.sign_in(broker)
        await received(broker, "orderBook", before + 1)  # for the sign-in itself
        await looks_are_over(store)
        assert await is_followed(home, store, broker, token, b"{}")
        assert (await asha.delete("/v1/sessions")).status_code == 204
        assert not await is_followed(home, store, broker, token, b"{}")


async def test_what_is_claimed_of_an_order_is_not_believed(
    home: Service, store: Store, broker: SimulatedBroker
) -> None:
    async with subscribed(home, broker) as asha, listening(asha) as stream:
        listed = (await asha.get("/v1/orders")).json()["orders"]
        [number] = [each["orderNo"] for each in listed if each["tradingSymbol"] == SEEDED]
        await first_look_is_over(store)
        for fields in ({}, {"status": "REJECTED"}, {"status": "CANCELED", "reporttype": "Canceled"},
                       {"qty": "99999", "status": "OPEN"}, {"actid": OTHER, "norenordno": None}):  # fmt: skip
            await due(store)
            before = book_reads(broker)
            claimed: dict[str, Any] = {"norenordno": number, "tsym": SEEDED, **fields}
            broker.forge_webhooks("AB1234", 1, **claimed)

            async def is_looked_at(before: int = before) -> bool:
                has_looked = await store.rows.fetchval("SELECT looked_at IS NOT NULL FROM book_looks")
                return bool(has_looked) and book_reads(broker) > before

            await until(is_looked_at)
        assert (await asha.order(number))["status"] == "OPEN"
        assert (await asha.get("/v1/order-events")).json()["lastEventId"] == int(stream.last_id or 0)
    assert stream.updates == []


async def test_a_post_that_came_true_makes_the_polls_rarer_for_a_quarter_of_an_hour(
    home: Service, store: Store, broker: SimulatedBroker
) -> None:
    async with subscribed(home, broker) as asha, listening(asha) as stream:
        await first_look_is_over(store)
        broker.order_switches(fillAtMost=4)
        broker.set_price(SEEDED, "14.00")
        await stream.until(1)
        await looks_are_over(store)
        assert await planned(store) == pytest.approx(3 * float(NEVER), abs=1)
        await store.rows.execute("UPDATE book_looks SET hint_proved_at = hint_proved_at - interval '15 minutes'")
        assert await planned(store) == pytest.approx(float(NEVER), abs=1)


async def planned(store: Store) -> float:
    """Make a look due, and return how many seconds after it the next one is."""
    await store.rows.execute("UPDATE book_looks SET next_look_at = now(), looked_at = NULL")

    async def found() -> float | None:
        seconds: float | None = await store.rows.fetchval(
            "SELECT extract(epoch FROM next_look_at - looked_at)::float FROM book_looks WHERE lease_until IS NULL"
        )
        return seconds

    return await until(found)


ALL_AT_ONCE = {"dialect": "checksum", "duplicates": 3, "reorder": True, "delaySeconds": 0.3, "partial": True}


@pytest.mark.parametrize(
    ("pace", "switches"),
    [(NEVER, {}), (NEVER, ALL_AT_ONCE), ("0.5", {"lose": "every-second"}), ("0.5", {"lose": "all"})],
)
async def test_however_the_broker_posts_every_change_is_told_once_and_in_order(
    store: Store, hints_database: str, broker: SimulatedBroker, pace: str, switches: dict[str, Any]
) -> None:
    """The same life of three orders each time; without the broker's posts the polls alone tell it."""
    async with (
        told_by_broker(hints_database, broker, pace) as home,
        subscribed(home, broker) as asha,
        listening(asha) as stream,
    ):
        broker.webhook_switches(**switches)
        broker.order_switches(fillAtMost=4)
        numbers = [await asha.placed(quantity=10 + each) for each in range(3)]
        await stream.until(3)
        for told, price in ((6, "13.00"), (9, "12.90")):
            broker.set_price(SYMBOL, price)
            await stream.until(told)
        broker.day_end()
        await _over(stream_of=numbers, told=lambda: stream.updates)
        await _nothing_waits(broker)
        await asha.get("/v1/orders", headers={"Cache-Control": "no-cache"})
        listed = (await asha.get("/v1/order-events", params={"since": stream.updates[0]["id"] - 1})).json()
    assert stream.updates == listed["orderEvents"]
    first = stream.updates[0]["id"]
    assert [each["id"] for each in stream.updates] == list(range(first, first + len(stream.updates)))
    for number in numbers:
        life = [(each["type"], each["order"]["filledQuantity"]) for each in stream.updates
                if each["order"]["orderNo"] == number]  # fmt: skip
        assert life == [("OPEN", 0), ("PARTLY_FILLED", 4), ("PARTLY_FILLED", 8), ("CANCELLED", 8)]


async def _over(stream_of: list[str], told: Any) -> None:
    """Return when the end of each of these orders has been told."""

    async def is_so() -> bool:
        ended = {each["order"]["orderNo"] for each in told() if each["type"] == "CANCELLED"}
        return ended >= set(stream_of)

    await until(is_so)


async def _nothing_waits(broker: SimulatedBroker) -> None:
    async def is_so() -> bool:
        return bool(broker.webhooks()["waiting"] == 0)

    await until(is_so)
