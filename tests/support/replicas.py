"""Two replicas of the service on one database, and an investor who reaches either with the same cookie."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import asyncpg
import httpx

from app.clock import Clock
from tests.support.configured import configured
from tests.support.investor import Browser, slug
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

T = TypeVar("T")

PUBLIC = "http://127.0.0.1:2"  # where the one proxy before both would listen
DEADLINE = "1"  # seconds for an order call; doubtful five seconds after it was begun

ORDER = {
    "exchange": "NSE", "tradingSymbol": "YESBANK-EQ", "transactionType": "BUY", "quantity": 10, "product": "CNC",
    "orderType": "LIMIT", "price": "14.00",
}  # fmt: skip
"""Waits in the book, where nothing looks like it: its price is 100, and none of the seed is of its symbol."""
TERMS = ORDER | {
    "triggerPrice": None, "validity": "DAY", "variety": "REGULAR", "disclosedQuantity": None,
}  # fmt: skip
"""The same, as it is shown."""
CONVERSION = {
    "exchange": "NSE", "tradingSymbol": "TATASTEEL-EQ", "transactionType": "BUY", "quantity": 5,
    "fromProduct": "CNC", "toProduct": "MIS", "positionType": "DAY",
}  # fmt: skip
"""A part of what AB1234 bought today."""


async def until(question: Callable[[], Awaitable[T | None]], within: float = 10) -> T:
    """Ask until the answer is something, and return it."""
    last: T | None = None
    try:
        async with asyncio.timeout(within):
            while not (last := await question()):  # noqa: ASYNC110  # it comes true in a database or another process
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"after {within} seconds still: {last!r}") from None
    return last


async def received(broker: SimulatedBroker, call: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the requests of one call, as soon as the broker has `count` of them."""

    async def enough() -> list[dict[str, Any]] | None:
        found = broker.received(call)
        return found if len(found) >= count else None

    return await until(enough)


def fresh_key() -> str:
    return uuid.uuid4().hex


class Store:
    """A hand in the replicas' database: what is written, and what time it is there."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.rows = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        connection = await asyncpg.connect(url)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def intent(self, placement_id: str) -> dict[str, Any]:
        return dict(await self.rows.fetchrow("SELECT * FROM intents WHERE id = $1", placement_id))

    async def intents(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.rows.fetch("SELECT * FROM intents ORDER BY created_at, id")]

    async def ask_for_a_look(self, user: str = "AB1234") -> None:
        await self.rows.execute("UPDATE watches SET next_look_at = now() WHERE user_id = $1", user)

    async def looked(self, user: str = "AB1234") -> None:
        """Have the book looked at, and return when a look that began after this has ended."""
        await self.ask_for_a_look(user)

        async def is_over() -> bool:
            return bool(await self.rows.fetchval(
                "SELECT lease_until IS NULL AND (next_look_at IS NULL OR next_look_at > now()) FROM watches"
                " WHERE user_id = $1", user
            ))  # fmt: skip

        await until(is_over)

    async def age(self, placement_id: str, minutes: int) -> None:
        """Move a placement back in time, with everything that was written of it."""
        columns = ("created_at", "send_by", "doubtful_at", "absent_since", "cancel_wanted_at", "resolved_at")
        earlier = ", ".join(f"{name} = {name} - make_interval(mins => $2)" for name in columns)
        await self.rows.execute(f"UPDATE intents SET {earlier} WHERE id = $1", placement_id, minutes)

    async def forget_pauses(self) -> None:
        """End every pause that the broker's word about its limit began."""
        await self.rows.execute("UPDATE rate_heads SET paused_until = NULL, pause_seconds = NULL")

    async def ledger(self, action: str, user: str = "AB1234") -> list[dict[str, Any]]:
        """Return the facts of what the ledger says was done."""
        found = await self.rows.fetch(
            "SELECT facts::text FROM ledger WHERE chain = $1 AND action = $2 ORDER BY number", user, action
        )
        return [httpx.Response(200, content=row["facts"]).json() for row in found]


@asynccontextmanager
async def locked(url: str, table: str, mode: str = "EXCLUSIVE") -> AsyncIterator[asyncpg.Connection]:
    """Hold a table, so that whoever writes to it waits there; with ACCESS EXCLUSIVE whoever reads it does, too."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class Replicas:
    """Two replicas and their database."""

    first: Service
    second: Service
    database_url: str
    store: Store

    @property
    def both(self) -> tuple[Service, Service]:
        return self.first, self.second


@asynccontextmanager
async def replicated(
    database_url: str, broker_url: str, *, bystanders: int = 2, clock: Clock | None = None, **changed: Any
) -> AsyncIterator[Replicas]:
    """Run two replicas in this process, and some whom nobody calls, so that looks come soon; `changed` are settings."""
    settings = configured(database_url, broker_url, PUBLIC, **{"broker_order_deadline": DEADLINE} | changed)
    async with AsyncExitStack() as stack:
        services: list[Service] = []
        for number in range(2 + bystanders):
            services.append(await stack.enter_async_context(serving(settings, clock)))
            if number < bystanders:
                await asyncio.sleep(0.1)  # their reconcilers wake every half second, and so in turn
        store = await stack.enter_async_context(Store.open(database_url))
        yield Replicas(services[0], services[1], database_url, store)


class Trader(Browser):
    """One investor in one browser, who sends what he does to whichever replica is named, else to his first one."""

    def __init__(self, service: Service, user: str = "AB1234") -> None:
        super().__init__(service)
        self.headers["Origin"] = PUBLIC
        self.user = user
        self.home = service

    async def place(
        self, key: str | None = None, *, at: Service | None = None, order: dict[str, Any] | None = None, **changed: Any
    ) -> httpx.Response:
        """Place the usual order, or `order`, changed by what is named."""
        return await self.act("POST", "/v1/orders", (order or ORDER) | changed, key, at=at)

    async def modify(
        self, order_no: str, change: dict[str, Any], key: str | None = None, *, at: Service | None = None
    ) -> httpx.Response:
        return await self.act("PATCH", f"/v1/orders/{order_no}", change, key, at=at)

    async def convert(self, key: str | None = None, *, at: Service | None = None, **changed: Any) -> httpx.Response:
        return await self.act("POST", "/v1/positions/convert", CONVERSION | changed, key, at=at)

    async def act(
        self, method: str, path: str, content: Any, key: str | None = None, *, at: Service | None = None
    ) -> httpx.Response:
        """Do something that wants a key, by default a fresh one."""
        headers = {"Idempotency-Key": key or fresh_key()}
        return await self.request(method, f"{(at or self.home).url}{path}", json=content, headers=headers)

    async def place_many_times(self, key: str, replicas: Replicas, times: int = 3) -> list[httpx.Response]:
        """Send one order to both replicas at once, so many times to each; the answer of who did it comes first."""
        answers = await asyncio.gather(*(self.place(key, at=each) for each in replicas.both for _ in range(times)))
        return sorted(answers, key=is_second)

    async def placed(self, **changed: Any) -> str:
        """Place an order that is accepted at once and return its number."""
        answer = await self.place(**changed)
        assert answer.status_code == 201, answer.text
        [order] = answer.json()["orders"]
        return str(order["orderNo"])

    async def placement(self, placement_id: str) -> dict[str, Any]:
        answer = await self.get(f"/v1/placements/{placement_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def becomes(
        self, placement_id: str, outcome: str, *, within: float = 10, such_that: Callable[[Any], bool] = bool
    ) -> dict[str, Any]:
        """Return a placement as soon as it has this outcome, and is as wanted besides."""

        async def has_become() -> dict[str, Any] | None:
            found = await self.placement(placement_id)
            return found if found["outcome"] == outcome and such_that(found) else None

        return await until(has_become, within)

    async def order(self, order_no: str) -> dict[str, Any]:
        """Return one row of the order book."""
        listed = (await self.get("/v1/orders")).json()["orders"]
        return next(each for each in listed if each["orderNo"] == order_no)


@asynccontextmanager
async def trading(service: Service, broker: SimulatedBroker, user: str = "AB1234") -> AsyncIterator[Trader]:
    """Give an investor who has signed in."""
    async with Trader(service, user) as trader:
        assert (await trader.sign_in(broker, user)).status_code == 303
        yield trader


def is_second(answer: httpx.Response) -> bool:
    """Say whether an answer is that of a request that came second: it did nothing itself."""
    if answer.status_code == 409:
        assert slug(answer) == "idempotency-key-in-use"
        assert answer.headers["retry-after"] == "1"
        return True
    return bool(answer.headers.get("idempotency-replayed") == "true")
