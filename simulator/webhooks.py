"""Where an investor's order updates are posted (contract §8), and what: a matter of the user, not of his token."""

import time
from collections import Counter
from datetime import datetime

from simulator.investors import Fields
from simulator.order_forms import Refusal
from simulator.orders import Order
from simulator.posting import Line, Post, Postman, Tally
from simulator.switchboard import EVERYBODY, Switchboard
from simulator.webhook_payloads import forged, payload_of
from simulator.webhook_switches import WebhookSwitches

_MOST_URLS = 5  # of a user


class Webhooks:
    """The URLs of every user; telling one of them never waits and never fails."""

    def __init__(self, secret: str) -> None:
        self.tally = Tally()
        self._secret = secret
        self._postman = Postman(self.tally)
        self._lines: dict[str, dict[str, Line]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget every URL, what waits for it, the switches and what was counted."""
        for lines in self._lines.values():
            for line in lines.values():
                line.cut()
        self._lines = {}
        self._told: Counter[str] = Counter()
        self.switches = Switchboard(WebhookSwitches)
        self.tally.forget()

    async def close(self) -> None:
        await self._postman.close()

    def subscribe(self, user_id: str, url: str) -> None:
        """Post a user's updates to a URL from now on; raises `Refusal`. The same URL twice is one."""
        lines = self._lines.setdefault(user_id, {})
        if url in lines:
            return
        if len(lines) >= _MOST_URLS:
            raise Refusal(f"Maximum {_MOST_URLS} callback URLs are allowed")
        lines[url] = Line(user_id, url, self._postman)

    def unsubscribe(self, user_id: str, url: str) -> None:
        """Post nothing more to a URL, not even what waits; raises `Refusal`."""
        line = self._lines.get(user_id, {}).pop(url, None)
        if line is None:
            raise Refusal("callbackUrl is not subscribed")
        line.cut()

    def subscriptions(self) -> list[tuple[str, str]]:
        """Return user and URL of every subscription, the oldest of each user first."""
        return [(user_id, url) for user_id, lines in self._lines.items() for url in lines]

    def waiting(self) -> int:
        """Return how many posts are still to be made, the one that is under way included."""
        return sum(line.waiting for lines in self._lines.values() for line in lines.values())

    def turn(self, user_id: str, wanted: WebhookSwitches) -> None:
        """Take over what is named; where that is `lose`, the counting for it begins anew."""
        self.switches.turn(user_id, wanted)
        if "lose" in wanted.model_fields_set:
            self._count_anew(user_id)

    def clear(self, user_id: str) -> None:
        """Put an investor's switches back, or with `*` everybody's own ones."""
        self.switches.clear(user_id)
        self._count_anew(user_id)

    def tell(self, order: Order, report: str, at: datetime, remarks: str) -> None:
        """Post a step of an order to its user's URLs, as it is switched for him."""
        user_id = str(order.identity["userId"])
        lines = self._lines.get(user_id)
        if not lines:
            return
        switches = self.switches.of(user_id)
        times = 1 + (switches.duplicates or 0)
        if self._is_lost(user_id, switches):
            self.tally.lost += times * len(lines)
            return
        payload = payload_of(order, report, at, remarks, switches, self._secret)
        due_at = time.monotonic() + (switches.delay_seconds or 0)
        for line in lines.values():
            line.put(Post(payload, times, due_at, is_overtaken=bool(switches.reorder)))

    def forge(self, user_id: str, times: int, fields: Fields, at: datetime) -> int:
        """Post so many untrue claims to each URL of a user, or with `*` of all; return to how many URLs.

        No switch holds for them: they are not the broker's.
        """
        owners = list(self._lines) if user_id == EVERYBODY else [user_id]
        lines = [(owner, line) for owner in owners for line in self._lines.get(owner, {}).values()]
        for owner, line in lines:
            line.put(Post(forged(owner, fields, at), times))
        return len(lines)

    def _is_lost(self, user_id: str, switches: WebhookSwitches) -> bool:
        if switches.lose is None:
            return False
        self._told[user_id] += 1
        return switches.lose == "all" or self._told[user_id] % 2 == 0

    def _count_anew(self, user_id: str) -> None:
        if user_id == EVERYBODY:
            self._told.clear()
        else:
            self._told.pop(user_id, None)
