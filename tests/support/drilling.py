"""The load of a drill, and the round by which it is known that everything works again: read, order, and its event."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from app.clock import monotonic
from tests.support.fleet import Fleet
from tests.support.hearing import Ear
from tests.support.honest import Answer, Diary, Investor, Wish, browsers, sign_in
from tests.support.replicas import until

PROBE, GREEDY = "DRILL01", "DRILL02"
STEADY = [f"DRILL{number:02}" for number in range(3, 8)]
CARDS = ("orders", "funds", "holdings", "positions", "trades", "placements", "session", "order-events")

_HEARD_WITHIN = 12.0  # seconds; a poll comes every ten
_RECOVERS_WITHIN = 75.0


@dataclass
class Crew:
    """Everybody, with what they do until they are told to stop."""

    investors: dict[str, Investor]
    ears: dict[str, Ear]
    diary: Diary
    _is_over: asyncio.Event = field(default_factory=asyncio.Event)
    _acting: list[asyncio.Task[None]] = field(default_factory=list)
    _listening: list[asyncio.Task[None]] = field(default_factory=list)
    _finishing: list[asyncio.Task[Answer]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def of(cls, fleet: Fleet, users: Sequence[str]) -> AsyncIterator["Crew"]:
        """Sign everybody in, have them listen, and end whatever they do in the end."""
        diary = Diary()
        async with browsers() as client:
            investors = {each: await _investor(client, fleet, each, diary) for each in users}
            crew = cls(investors, {name: Ear(each) for name, each in investors.items()}, diary)
            crew._listening = [asyncio.create_task(each.listen()) for each in crew.ears.values()]
            try:
                yield crew
            finally:
                tasks = [*crew._acting, *crew._listening, *crew._finishing]
                for each in tasks:
                    each.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self) -> None:
        """Have everybody but the probe be busy."""
        for user in STEADY:
            self._act(self._trade(self.investors[user]), self._look(self.investors[user], 0.4, 1.2, afresh=0.2))
        greedy = self.investors[GREEDY]
        self._act(*(self._look(greedy, 0.02, 0.2, afresh=0.7) for _ in range(3)), self._overdo(greedy))

    def _act(self, *works: Awaitable[None]) -> None:
        self._acting += [asyncio.ensure_future(each) for each in works]

    async def stop(self) -> None:
        """Let everybody finish what he has begun; raises whatever went wrong."""
        self._is_over.set()
        await asyncio.gather(*self._acting, *self._finishing)

    async def stop_listening(self) -> None:
        for each in self._listening:
            assert not each.done(), each.result()
            each.cancel()

    async def _pause(self, shortest: float, longest: float, habits: random.Random) -> None:
        try:
            async with asyncio.timeout(habits.uniform(shortest, longest)):
                await self._is_over.wait()
        except TimeoutError:
            return

    async def _trade(self, investor: Investor) -> None:
        """Place an order now and then, some of which fill at once, and cancel of the others the third newest."""
        habits = random.Random(investor.user)  # noqa: S311  # no secret
        waiting: list[str] = []
        while not self._is_over.is_set():
            fills = habits.random() < 0.3
            answer = await investor.insist(investor.order(fills=fills))
            if answer.status == 201 and not fills:
                waiting += [each["orderNo"] for each in answer.content["orders"]]
            if len(waiting) > 2:
                await investor.insist(investor.cancel(waiting.pop(0)))
            await self._pause(1.2, 2.4, habits)

    async def _overdo(self, investor: Investor) -> None:
        """Place more at once than the limits allow; what is refused waits for its turn."""
        habits = random.Random(investor.user)  # noqa: S311  # no secret
        while not self._is_over.is_set():
            await asyncio.gather(*(investor.insist(investor.order()) for _ in range(8)))
            await self._pause(1, 2, habits)

    async def _look(self, investor: Investor, shortest: float, longest: float, *, afresh: float) -> None:
        habits = random.Random(f"{investor.user} looks")  # noqa: S311  # no secret
        while not self._is_over.is_set():
            await investor.read(habits.choice(CARDS), afresh=habits.random() < afresh)
            await self._pause(shortest, longest, habits)

    async def _is_whole(self) -> bool:
        """Go one round: read afresh, place an order, hear of it; say whether all of it went well at once."""
        probe, ear = self.investors[PROBE], self.ears[PROBE]
        if (await probe.read("orders", afresh=True)).has_failed:
            return False
        wish = probe.order()
        answer = await probe.send(wish)
        if answer.status != 201:
            self._finish(probe, wish)
            return False
        [order] = answer.content["orders"]
        return await ear.hears_of(order["orderNo"], _HEARD_WITHIN)

    def _finish(self, investor: Investor, wish: Wish) -> None:
        if not wish.is_known:
            self._finishing.append(asyncio.create_task(investor.insist(wish)))

    async def recovers(self, since: float) -> float:
        """Return how long after a moment the first whole round was done, of those that begin now."""
        while not await self._is_whole():
            assert monotonic() - since < _RECOVERS_WITHIN, self.diary.answers[-20:]
            await asyncio.sleep(0.1)  # the next round may go well, nothing says when
        return monotonic() - since

    async def entry(self, name: str, began_at: float, ended_at: float, recovered: float) -> "Entry":
        """Write down what a fault was like, as soon as everything is answered that was asked during it."""

        async def is_answered() -> bool:
            return not any(each <= ended_at for each in self.diary.under_way)

        await until(is_answered, within=40)
        seen = self.diary.asked_between(began_at, ended_at + recovered)
        return Entry(name, ended_at - began_at, recovered, seen)


async def _investor(client: aiohttp.ClientSession, fleet: Fleet, user: str, diary: Diary) -> Investor:
    await asyncio.to_thread(fleet.broker.add_investor, user)
    return Investor(client, fleet.url, user, await sign_in(client, fleet.url, fleet.broker, user), diary)


@dataclass(frozen=True)
class Entry:
    """What one fault was like: seconds, and what the frontends saw from its begin to the first whole round."""

    name: str
    lasted: float
    recovered: float
    answers: Sequence[Answer]

    @property
    def seen(self) -> str:
        failed = Counter(each.kind for each in self.answers if each.has_failed and each.status != 429)
        failed.update("202 unknown" for each in self.answers if each.status == 202)
        failed.update(f"422 {each.content.get('reason')}" for each in self.answers if each.slug == "order-refused")
        return ", ".join(f"{count} {kind}" for kind, count in failed.most_common()) or "nothing"


Doing = Callable[[], Awaitable[object]]


async def during(crew: Crew, name: str, begin: Doing, end: Doing, seconds: float) -> Entry:
    """Break something for some seconds, mend it, and return what it was like; it recovers from when it is mended."""
    began_at = monotonic()
    await begin()
    await asyncio.sleep(seconds)  # the fault lasts so long, whatever happens meanwhile
    await end()
    ended_at = monotonic()
    recovered = await crew.recovers(ended_at)
    return await crew.entry(name, began_at, ended_at, recovered)


def table(entries: Sequence[Entry]) -> str:
    """Return what a drill is run for, as it stands in docs/reliability.md."""
    rows = [
        f"| {each.name} | {each.lasted:.1f} | {each.recovered:.1f} | {len(each.answers)} | {each.seen} |"
        for each in entries
    ]
    return "\n".join([
        "| fault | lasted (s) | first whole round after (s) | answers meanwhile | what the frontends saw of it |",
        "|---|---|---|---|---|",
        *rows,
    ])  # fmt: skip
