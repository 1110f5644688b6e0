"""A class of calls that fails over and over is left alone for a while; who asks meanwhile is told so at once.

What opens a breaker is that the broker does not answer or makes no sense, never what an investor did or what a limit
said. Before order calls and the exchange of a code none stands: there it only tells (docs/decisions/0016).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import ceil

from app import measures
from app.broker.paths import RouteClass
from app.clock import chance, monotonic
from app.limits import Urgency
from app.observability import logger
from app.problems import BrokerUnavailable

_log = logger("broker")

_WINDOW = 60.0  # seconds of which the calls are judged
_MOST = 100  # calls of them, the last ones
_SHARE_NEEDS = 4  # times as many calls as failures in a row, before half of them failing is enough
_FIRST, _LONGEST = 1.0, 15.0  # seconds for which it stays open; doubled whenever the one call let through fails
_JITTER = 0.25  # of these, so that replicas don't try at the same moment

ONLY_TELLING = frozenset({RouteClass.ORDERS, RouteClass.EXCHANGE})
"""Where nothing is ever refused: an order is the investor's to decide about, and a code is good for minutes."""


class Ending(Enum):
    """How one call went: the broker answered it, failed, or proved neither (a limit, a path, a caller who left)."""

    ANSWERED = "answered"
    FAILED = "failed"
    NEITHER = "neither"


@dataclass
class _Opening:
    """One time of being open; with `whose` it is open for that user alone, who is the only one whose calls failed."""

    whose: str | None
    length: float
    until: float
    has_probe: bool = False

    def concerns(self, user_id: str | None) -> bool:
        return self.whose is None or self.whose == user_id


@dataclass(frozen=True)
class Leave:
    """That a call may go, whose it is, and what was open when it went."""

    user_id: str | None
    opening: _Opening | None = None
    is_probe: bool = False


@dataclass(frozen=True)
class _Past:
    at: float
    user_id: str | None
    has_failed: bool


class Breaker:
    """The breaker of one class of calls, in one process."""

    def __init__(
        self,
        route: RouteClass,
        failures: int,
        now: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = chance,
    ) -> None:
        """Open after `failures` in a row, or when half of four times as many calls have failed; never with 0."""
        self._route = route
        self._failures = failures
        self._now = now
        self._jitter = jitter
        self._only_tells = route in ONLY_TELLING
        self._past: deque[_Past] = deque(maxlen=_MOST)
        self._opening: _Opening | None = None

    def admit(self, user_id: str | None, urgency: Urgency = Urgency.ORDINARY) -> Leave:
        """Return leave for a call, whose ending has to be told to `settle`; raises `BrokerUnavailable` while open.

        Open, it lets one call through at a time when its time is over, and always what is urgent: a look after an
        unknown order waits for nobody's peace.
        """
        opening = self._opening
        if opening is None or self._only_tells or urgency is Urgency.URGENT or not opening.concerns(user_id):
            return Leave(user_id, opening)
        wait = opening.until - self._now()
        if wait > 0 or opening.has_probe:
            measures.broker_call_spared(self._route)
            raise BrokerUnavailable(
                "The broker fails at present and is left alone for a moment.",
                headers={"Retry-After": str(max(ceil(wait), 1))},
            )
        opening.has_probe = True
        return Leave(user_id, opening, is_probe=True)

    def settle(self, leave: Leave, ending: Ending) -> None:
        """Take in how a call went; of those that began before it opened none decides when it closes."""
        if leave.is_probe and leave.opening:
            leave.opening.has_probe = False
        if ending is Ending.NEITHER:
            return
        opening = self._opening
        if opening is None or not opening.concerns(leave.user_id):
            self._note(leave.user_id, has_failed=ending is Ending.FAILED)
        elif leave.opening is opening and ending is Ending.ANSWERED:
            self._close()
        elif leave.opening is opening and leave.is_probe:
            self._open(opening.whose, min(opening.length * 2, _LONGEST))

    def _note(self, user_id: str | None, *, has_failed: bool) -> None:
        """Take in a call to which nothing is open."""
        self._past.append(_Past(self._now(), user_id, has_failed))
        if has_failed:
            self._judge()
        elif self._opening and self._opening.until < self._now() - _WINDOW:
            self._close()  # the one whom it concerns has not come back

    def _judge(self) -> None:
        """Open where too much has failed; for one user alone where all of it was his: his account may be odd."""
        while self._past[0].at < self._now() - _WINDOW:
            self._past.popleft()
        failed = [each for each in self._past if each.has_failed]
        last = list(self._past)[-self._failures :]
        is_row = 0 < self._failures == len(last) and all(each.has_failed for each in last)
        is_share = 0 < self._failures * _SHARE_NEEDS <= len(self._past) <= len(failed) * 2
        if is_row or is_share:
            users = {each.user_id for each in (last if is_row else failed)}
            is_ones = len(users) == 1 and self._opening is None and not self._only_tells
            self._open(users.pop() if is_ones else None, _FIRST)

    def _open(self, whose: str | None, length: float) -> None:
        is_news = self._opening is None or self._opening.whose != whose
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        self._opening = _Opening(whose, length, self._now() + min(length * spread, _LONGEST))
        self._past.clear()
        if is_news:
            measures.broker_route_failing(self._route, is_failing=True)
            _log.error(f"broker_{self._route}_failing", is_one_user=whose is not None, is_let_through=self._only_tells)

    def _close(self) -> None:
        self._opening = None
        measures.broker_route_failing(self._route, is_failing=False)
        _log.warning(f"broker_{self._route}_working_again")
