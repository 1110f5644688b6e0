"""The databases of two replicas as sights are written into them by hand, and rows of a broker's book."""

import json
from datetime import date, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg

from app.broker.wire import BookRow, book_row
from app.db import Database
from app.order_updates.store import last_event
from app.orderbook.recording import Sight, find_known, record_sight, write_sight

DAY, NEXT_DAY = date(2026, 11, 24), date(2026, 11, 25)
NUMBER = "26112400000001"
LEASE = timedelta(seconds=25)

_names = count(1)


class Books:
    """Two replicas' databases, which are one, and a hand in it; nobody else looks there."""

    def __init__(self, first: Database, second: Database, rows: asyncpg.Connection) -> None:
        self.both = first, second
        self.rows = rows

    async def newcomer(self) -> str:
        """Return somebody of whom nothing is known yet."""
        user = f"U{next(_names)}"
        await self.rows.execute("INSERT INTO users (id, created_at, signed_in_at) VALUES ($1, now(), now())", user)
        return user

    async def last(self, user: str) -> int:
        async with self.both[0].reading() as tx:
            return await last_event(tx, user)

    async def events(self, user: str) -> list[dict[str, Any]]:
        found = await self.rows.fetch("SELECT * FROM order_events WHERE user_id = $1 ORDER BY number", user)
        return [dict(row) | {"shown": json.loads(row["shown"]), "changes": json.loads(row["changes"])} for row in found]

    async def types(self, user: str) -> list[str]:
        return [each["type"] for each in await self.events(user)]

    async def seen(self, user: str, number: str = NUMBER) -> dict[str, Any]:
        found = await self.rows.fetchrow("SELECT * FROM seen_orders WHERE user_id = $1 AND order_no = $2", user, number)
        return dict(found) | {"shown": json.loads(found["shown"]) if found["shown"] else None}

    async def is_look_wanted(self, user: str) -> bool:
        """Say whether a look is planned within the next two seconds."""
        return bool(await self.rows.fetchval(
            "SELECT next_look_at < now() + interval '2 seconds' FROM book_looks WHERE user_id = $1", user
        ))  # fmt: skip

    async def record(self, user: str, rows: list[BookRow], after: int, day: date = DAY, *, at: int = 0) -> None:
        await record_sight(self.both[at], Sight(user, rows, day, after))

    async def write(
        self, user: str, rows: list[BookRow], after: int, *, at: int = 0, came_from: dict[str, UUID] | None = None
    ) -> bool:
        """Write a sight down as the reconciler does, within a transaction of its own."""
        sight = Sight(user, rows, DAY, after)
        async with self.both[at].transaction() as tx:
            return await write_sight(tx, sight, await find_known(tx, sight), came_from)


def row(status: str = "OPEN", *, number: str = NUMBER, filled: int = 0, price: str = "14.10", **more: Any) -> BookRow:
    written = {
        "orderno": number, "exchange": "NSE", "tradingsymbol": "IDEA-EQ", "qty": "10", "transtype": "B", "ret": "DAY",
        "price": price, "product": "CNC", "pricetype": "L", "ordertype": "Regular", "orderstatus": status,
        "fillshares": str(filled), "ordertime": "10:00:00 24-11-2026",
    }  # fmt: skip
    return book_row(written | more, "remarks")
