"""An investor's market day in a few minutes: he signs in, listens, looks, trades, logs out, and comes again."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from app.clock import monotonic
from tests.support.fleet import Fleet
from tests.support.hearing import Ear
from tests.support.honest import Answer, Diary, Investor, sign_in
from tests.support.replicas import fresh_key

_CARDS = ("orders", "funds", "holdings", "positions", "trades", "orders", "funds", "profile", "session", "placements")
_LEAVES = 0.7  # of those who are done; the others close their browser


@dataclass
class Day:
    """Everybody's day, and what was done in it."""

    client: aiohttp.ClientSession
    fleet: Fleet
    diary: Diary = field(default_factory=Diary)
    done: Counter[str] = field(default_factory=Counter)
    ears: set[Ear] = field(default_factory=set)
    _ends_at: float = 0.0

    @property
    def open_streams(self) -> int:
        return sum(each.is_open for each in self.ears)

    async def go_by(self, users: list[str], seconds: float) -> None:
        """Let everybody have so many seconds, and return when the last one has gone home."""
        self._ends_at = monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(self._live(user))

    @property
    def _is_over(self) -> bool:
        return monotonic() >= self._ends_at

    async def _live(self, user: str) -> None:
        habits = random.Random(user)  # noqa: S311  # no secret
        await asyncio.sleep(habits.uniform(0, 5))  # they don't all come at once
        investor = Investor(self.client, self.fleet.url, user, "", self.diary)
        while not self._is_over:
            investor.cookie = await sign_in(self.client, self.fleet.url, self.fleet.broker, user)
            self.done["sign-ins"] += 1
            ear = Ear(investor, comes_back_after=0.1)
            self.ears.add(ear)
            listening = asyncio.create_task(ear.listen())
            try:
                await self._stay(investor, habits)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                self.ears.discard(ear)
                self.done["streams"] += ear.streams
                self.done["order updates"] += len(ear.updates)

    async def _stay(self, investor: Investor, habits: random.Random) -> None:
        """Look and trade for a while, or until the broker's session ends; then log out, mostly."""
        leaves_at = min(monotonic() + habits.uniform(10, 25), self._ends_at)
        while monotonic() < leaves_at:
            answer = await investor.read(habits.choice(_CARDS))
            if answer.slug == "broker-session-expired":
                self.done["met a cut-off"] += 1
                return
            if await self._is_to_come_again(answer):
                continue
            assert answer.status == 200, answer
            self.done["reads"] += 1
            if habits.random() < 0.04 and not await self._trade(investor):
                return
            await asyncio.sleep(habits.uniform(0.05, 0.4))
        if habits.random() < _LEAVES or self._is_over:
            assert (await investor.ask("DELETE", "/v1/session")).status in {200, 204}
            self.done["log-outs"] += 1

    async def _is_to_come_again(self, answer: Answer) -> bool:
        """Say whether it was put off, as on a machine with others at its two cores it may be, and wait as told."""
        if answer.slug != "temporarily-unavailable":
            return False
        self.done["put off"] += 1
        await asyncio.sleep(answer.wait)
        return True

    async def _trade(self, investor: Investor) -> bool:
        """Place an order and, mostly, cancel it; say whether the broker's session has lived meanwhile."""
        placed = await self._act(investor, "POST", "/v1/orders", investor.order().content)
        if placed.slug == "broker-session-expired":
            return False
        for order in placed.content.get("orders", [])[:1]:
            self.done["orders"] += 1
            if int(order["orderNo"]) % 4:
                self.done["cancels"] += 1
                cancelled = await self._act(investor, "DELETE", f"/v1/orders/{order['orderNo']}", None)
                return cancelled.slug != "broker-session-expired"
        return True

    async def _act(self, investor: Investor, method: str, path: str, content: Any) -> Answer:
        answer = await investor.ask(method, path, {"Idempotency-Key": fresh_key()}, content)
        self.done["intents"] += "placementId" in answer.content
        match answer.slug:
            case "broker-session-expired":
                self.done["met a cut-off"] += 1
            case "order-refused":
                self.done[f"refused: {answer.content['reason']}"] += 1
            case _:
                assert await self._is_to_come_again(answer) or answer.status in {200, 201}, answer
        return answer
