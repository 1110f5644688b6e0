"""An investor's market day in a few minutes: he signs in, listens, looks, trades, logs out, and comes again."""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from app.clock import monotonic
from tests.support.fleet import Fleet
from tests.support.hearing import Ear
from tests.support.honest import Answer, Diary, Investor, sign_in
from tests.support.replicas import fresh_key

_CARDS = ("orders", "funds", "holdings", "positions", "trades", "orders", "funds", "profile", "session", "placements")
_TRADES = 0.08  # of what he does while he trades
_LEAVES = 0.7  # of those who are done; the others close their browser


@dataclass
class Day:
    """Everybody's day, and what was done in it."""

    client: aiohttp.ClientSession
    fleet: Fleet
    diary: Diary = field(default_factory=Diary)
    done: Counter[str] = field(default_factory=Counter)
    ears: set[Ear] = field(default_factory=set)
    _left_open: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The numbers of each user's orders that are to be cancelled when trading ends."""
    _ends_at: float = 0.0
    _trades_until: float = 0.0

    @property
    def open_streams(self) -> int:
        return sum(each.is_open for each in self.ears)

    async def go_by(self, users: list[str], seconds: float, *, trading_for: float) -> None:
        """Let everybody have so many seconds, in the first of which he trades; return when the last one has gone."""
        now = monotonic()
        self._ends_at, self._trades_until = now + seconds, now + trading_for
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
                self.diary.answers.clear()  # nobody reads them, and they are as large as all that was answered
                self.diary.wishes.clear()

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
            if not await self._deal(investor, habits):
                return
            await asyncio.sleep(habits.uniform(0.05, 0.4))
        if self._is_over:
            await self._log_out(investor, "/v1/sessions")
        elif habits.random() < _LEAVES:
            await self._log_out(investor, "/v1/session")

    async def _is_to_come_again(self, answer: Answer) -> bool:
        """Say whether it was put off, as on a machine with others at its two cores it may be, and wait as told."""
        if answer.slug != "temporarily-unavailable":
            return False
        self.done["put off"] += 1
        await asyncio.sleep(answer.wait)
        return True

    async def _log_out(self, investor: Investor, path: str) -> None:
        """Log out on this device, or everywhere."""
        while await self._is_to_come_again(answer := await investor.ask("DELETE", path)):
            pass
        assert answer.status == 204, answer
        self.done["log-outs"] += 1

    async def _deal(self, investor: Investor, habits: random.Random) -> bool:
        """Trade now and then, and cancel what is left once trading is over; say whether the broker's session lives."""
        if monotonic() >= self._trades_until:
            return await self._cancel_what_is_left(investor)
        return habits.random() >= _TRADES or await self._trade(investor)

    async def _trade(self, investor: Investor) -> bool:
        """Place an order and, mostly, cancel it; say whether the broker's session has lived meanwhile."""
        placed = await self._act(investor, "POST", "/v1/orders", investor.order().content)
        for order in placed.content.get("orders", [])[:1]:
            self.done["orders"] += 1
            self._left_open[investor.user].append(order["orderNo"])
            if int(order["orderNo"]) % 4:
                return await self._cancel_what_is_left(investor, 1)
        return placed.slug != "broker-session-expired"

    async def _cancel_what_is_left(self, investor: Investor, most: int = 1000) -> bool:
        """Cancel his open orders, the last first; what the cut-off refuses he tries again when he is back."""
        left = self._left_open[investor.user]
        for number in left[: -most - 1 : -1]:
            answer = await self._act(investor, "DELETE", f"/v1/orders/{number}", None)
            if answer.slug == "broker-session-expired":
                return False
            if answer.status == 200:
                self.done["cancels"] += 1
                left.remove(number)
        return True

    async def _act(self, investor: Investor, method: str, path: str, content: Any) -> Answer:
        """Do something under one key, until it is answered."""
        key = {"Idempotency-Key": fresh_key()}
        while await self._is_to_come_again(answer := await investor.ask(method, path, key, content)):
            pass
        self.done["intents"] += "placementId" in answer.content
        match answer.slug:
            case "broker-session-expired":
                self.done["met a cut-off"] += 1
            case "order-refused":
                self.done[f"refused: {answer.content['reason']}"] += 1
            case _:
                assert answer.status in {200, 201}, answer
        return answer
