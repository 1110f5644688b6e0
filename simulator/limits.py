"""How often an investor may call the broker (contract §6): sliding windows, kept to the nanosecond."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import get_args

from simulator.order_forms import Exchange

LENGTHS = (1, 60, 3600, 86_400)
"""Seconds of the four windows (contract §6)."""

_SECOND = 10**9  # whole nanoseconds: with floats an edge would be a matter of luck


def _by_length(*limits: int) -> dict[int, int]:
    return dict(zip(LENGTHS, limits, strict=True))


CONTRACT: Mapping[str, Mapping[int, int]] = {
    "order": _by_length(25, 250, 500, 5000),
    "data": _by_length(10, 1000, 5000, 10_000),
    "nonTrading": _by_length(100, 500, 1000, 5000),
}
"""Contract §6; of quotes, charts and feed, which are the data calls, this simulator has none."""

ORDERS_PER_SECOND_PER_EXCHANGE = 10
"""Contract §6: the exchanges' rule for everybody whose algo is not registered, in force since 2026-04-01."""

_ORDER_CALLS = frozenset({"place", "modify", "cancel", "convert"})
_EXCHANGES = frozenset(get_args(Exchange))


class SlidingWindow:
    """The calls of the last so many seconds; one that is exactly that old is no longer among them."""

    def __init__(self, seconds: int) -> None:
        self._length = seconds * _SECOND
        self._times: deque[int] = deque()

    def add(self, at: int, calls: int = 1) -> None:
        """Take in calls that were received at this moment, no earlier than those before."""
        self._times.extend([at] * calls)

    def count(self, at: int) -> int:
        """Return how many calls are in the window that ends now; what is too old is forgotten."""
        while self._times and self._times[0] <= at - self._length:
            self._times.popleft()
        return len(self._times)

    def wait(self, at: int, limit: int, calls: int = 1) -> int:
        """Return the nanoseconds until so many more calls keep the limit, 0 where they do now."""
        leaving = self.count(at) + calls - limit
        if leaving <= 0:
            return 0
        if leaving > len(self._times):  # more at once than the limit allows at all: no waiting helps
            return self._length
        return self._times[leaving - 1] + self._length - at


def _windows() -> dict[int, SlidingWindow]:
    return {seconds: SlidingWindow(seconds) for seconds in LENGTHS}


class Limits:
    """What was received and what of it was over a limit; whoever is over one does not count against any."""

    def __init__(self, *, is_enforced: bool) -> None:
        self.is_enforced = is_enforced
        self.forget()

    def forget(self) -> None:
        """Forget what was counted, and put the contract's limits back."""
        self.table = {category: dict(limits) for category, limits in CONTRACT.items()}
        self.orders_per_second_per_exchange = ORDERS_PER_SECOND_PER_EXCHANGE
        self.received = dict.fromkeys(CONTRACT, 0)
        self.received_from: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CONTRACT, 0))
        self.refused = {category: dict.fromkeys(LENGTHS, 0) for category in CONTRACT}
        self.refused_at_an_exchange = 0
        self.refused_calls = 0
        self.worst = {category: dict.fromkeys(LENGTHS, 0) for category in CONTRACT}
        self._all: defaultdict[tuple[str, str], dict[int, SlidingWindow]] = defaultdict(_windows)
        self._within: defaultdict[tuple[str, str], dict[int, SlidingWindow]] = defaultdict(_windows)
        self._orders: defaultdict[tuple[str, str], SlidingWindow] = defaultdict(lambda: SlidingWindow(1))

    def change(self, table: Mapping[str, Mapping[int, int]]) -> None:
        """Take over the limits that are named; the others stay."""
        for category, limits in table.items():
            self.table[category].update(limits)

    def receive(self, call: str, user_id: str, orders: Mapping[str, int], at: int) -> int:
        """Count a call with so many orders by exchange; return the seconds until it keeps every limit, 0 for now.

        A call that speaks for nobody, whose `user_id` is empty, is under no limit.
        """
        category = "order" if call in _ORDER_CALLS else "nonTrading"
        self.received[category] += 1
        if not user_id:
            return 0
        self._note(user_id, category, at)
        within = self._within[user_id, category]
        waits = {seconds: window.wait(at, self.table[category][seconds]) for seconds, window in within.items()}
        at_exchange = max((self._wait_at(user_id, *each, at) for each in orders.items()), default=0)
        longest = max(at_exchange, *waits.values())
        if longest:
            self._refuse(category, waits, at_exchange)
        else:
            for window in within.values():
                window.add(at)
            for exchange, number in orders.items():
                self._orders[user_id, exchange].add(at, number)
        return -(-longest // _SECOND)

    def _wait_at(self, user_id: str, exchange: str, number: int, at: int) -> int:
        return self._orders[user_id, exchange].wait(at, self.orders_per_second_per_exchange, number)

    def _note(self, user_id: str, category: str, at: int) -> None:
        self.received_from[user_id][category] += 1
        worst = self.worst[category]
        for seconds, window in self._all[user_id, category].items():
            window.add(at)
            worst[seconds] = max(worst[seconds], window.count(at))

    def _refuse(self, category: str, waits: Mapping[int, int], at_exchange: int) -> None:
        self.refused_calls += 1
        self.refused_at_an_exchange += at_exchange > 0
        for seconds, wait in waits.items():
            self.refused[category][seconds] += wait > 0


def orders_by_exchange(call: str, content: object, exchange_of: Callable[[str], str | None]) -> Mapping[str, int]:
    """Count what a call sends to each exchange: every item of a list is one; what can't be read is sent nowhere."""
    items = [each for each in (content if isinstance(content, list) else [content]) if isinstance(each, dict)]
    named: list[object] = []
    if call in {"place", "modify"}:
        named = [item.get("exchange") for item in items]
    elif call == "cancel":
        named = [exchange_of(str(item.get("orderNo"))) for item in items]
    return Counter(each for each in named if isinstance(each, str) and each in _EXCHANGES)
