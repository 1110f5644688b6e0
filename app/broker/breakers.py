"""A class of calls that fails over and over is left alone for a while; who asks meanwhile is told so at once.

What opens a breaker is that the broker does not answer or makes no sense, never what an investor did or what a limit
said. One whose own calls fail is left alone by himself; only where several users' fail is everybody. Before order calls
and the exchange of a code none stands: there it only tells (docs/decisions/0016).
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
_MOST_ALONE = 100  # users who are left alone by themselves
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


@dataclass(eq=False)
class _Opening:
    """One time of being open; with `whose` it is open for that user alone, none but his calls failed."""

    whose: str | None
    length: float
    until: float
    has_probe: bool = False


@dataclass(frozen=True)
class Leave:
    """That a call may go, whose it is, what was open to him when it went, and which of it this call tries."""

    user_id: str | None
    openings: tuple[_Opening, ...] = ()
    probed: _Opening | None = None


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
        self._past: deque[_Past] = deque(maxlen=_MOST)  # of those to whom nothing was open
        self._shared: _Opening | None = None
        self._alone: dict[str, _Opening] = {}

    def admit(self, user_id: str | None, urgency: Urgency = Urgency.ORDINARY) -> Leave:
        """Return leave for a call, whose ending has to be told to `settle`; raises `BrokerUnavailable` while open.

        Open, it lets one call through at a time when its time is over, and always what is urgent: a look after an
        unknown order waits for nobody's peace.
        """
        openings = self._open_to(user_id)
        if not openings or self._passes(urgency):
            return Leave(user_id, openings)
        wait = self._wait(openings, urgency)
        if wait > 0 or any(each.has_probe for each in openings):
            measures.broker_call_spared(self._route)
            raise BrokerUnavailable(
                "The broker fails at present and is left alone for a moment.",
                headers={"Retry-After": str(max(ceil(wait), 1))},
            )
        probed = openings[0]  # his own first: the call of one whose account may be odd proves nothing for the others
        probed.has_probe = True
        return Leave(user_id, openings, probed)

    def lets_through(self, user_id: str | None, urgency: Urgency) -> bool:
        """Say whether `admit` would give leave at this moment."""
        openings = self._open_to(user_id)
        is_ripe = self._wait(openings, urgency) <= 0 and not any(each.has_probe for each in openings)
        return is_ripe or self._passes(urgency)

    def settle(self, leave: Leave, ending: Ending) -> None:
        """Take in how a call went; of those that began before it opened none decides when it closes."""
        if leave.probed:
            leave.probed.has_probe = False
        if ending is Ending.NEITHER:
            return
        openings = self._open_to(leave.user_id)
        if not openings:
            self._note(leave.user_id, has_failed=ending is Ending.FAILED)
        for opening in openings:
            if opening not in leave.openings:
                continue
            if ending is Ending.ANSWERED:
                self._close(opening)
            elif opening is leave.probed:
                self._open(opening.whose, min(opening.length * 2, _LONGEST))

    def _open_to(self, user_id: str | None) -> tuple[_Opening, ...]:
        """Return what is open to a user: his own first, then everybody's."""
        own = None if user_id is None else self._alone.get(user_id)
        return tuple(each for each in (own, self._shared) if each is not None)

    def _passes(self, urgency: Urgency) -> bool:
        return self._only_tells or urgency is Urgency.URGENT

    def _wait(self, openings: tuple[_Opening, ...], urgency: Urgency) -> float:
        """Return for how many seconds a call has to wait.

        An idle poll tries what is open to everybody only where nobody else has come for a while: it is the first to
        find no room and no permit. Never would be too little, for at night there may be nothing but polls.
        """
        later = _LONGEST if urgency is Urgency.IDLE else 0.0
        return (
            max((each.until + (later if each is self._shared else 0.0) for each in openings), default=0.0) - self._now()
        )

    def _note(self, user_id: str | None, *, has_failed: bool) -> None:
        """Take in a call to which nothing is open."""
        self._past.append(_Past(self._now(), user_id, has_failed))
        if has_failed:
            self._judge(user_id)
        for opening in [each for each in self._alone.values() if each.until < self._now() - _WINDOW]:
            self._close(opening)  # whom it concerns has not come back

    def _judge(self, user_id: str | None) -> None:
        """Open where too much has failed: for everybody where it was several users', else for the one alone.

        One whose every call fails is left alone before he is half of all that fails.
        """
        while self._past[0].at < self._now() - _WINDOW:
            self._past.popleft()
        failed = [each for each in self._past if each.has_failed]
        last = list(self._past)[-self._failures :]
        is_row = self._is_row(last)
        is_share = 0 < self._failures * _SHARE_NEEDS <= len(self._past) <= len(failed) * 2
        users = {each.user_id for each in (last if is_row else failed)}
        is_shared = len(users) > 1 or None in users or self._only_tells
        if (is_row or is_share) and is_shared:
            self._open(None, _FIRST)
        elif user_id is not None and not self._only_tells:
            own = [each for each in self._past if each.user_id == user_id]
            if is_row or is_share or self._is_row(own[-self._failures :]):
                self._open(user_id, _FIRST)

    def _is_row(self, last: list[_Past]) -> bool:
        return 0 < self._failures == len(last) and all(each.has_failed for each in last)

    def _open(self, whose: str | None, length: float) -> None:
        spread = 1 + _JITTER * (2 * self._jitter() - 1)
        opening = _Opening(whose, length, self._now() + min(length * spread, _LONGEST))
        if whose is None:
            is_news = self._shared is None
            self._shared = opening
            self._past.clear()
            measures.broker_route_failing(self._route, is_failing=True)
        else:
            is_news = whose not in self._alone
            if is_news and len(self._alone) >= _MOST_ALONE:
                self._close(next(iter(self._alone.values())))
            self._alone[whose] = opening
            self._past = deque((each for each in self._past if each.user_id != whose), maxlen=_MOST)
        if is_news:
            _log.error(f"broker_{self._route}_failing", is_one_user=whose is not None, is_let_through=self._only_tells)

    def _close(self, opening: _Opening) -> None:
        if opening.whose is None:
            self._shared = None
            measures.broker_route_failing(self._route, is_failing=False)
        else:
            del self._alone[opening.whose]
        _log.warning(f"broker_{self._route}_working_again", is_one_user=opening.whose is not None)
