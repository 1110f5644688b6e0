"""What stands between a question and the broker: a breaker and a room for each class, one deadline, one more try.

In this order: the breaker refuses at once, the room after a moment, and only then the transport takes a permit. The
deadline covers both tries and all waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from app import measures
from app.broker.breakers import Breaker, Ending, Leave
from app.broker.bulkheads import Bulkhead
from app.broker.errors import BrokerRefused, BrokerSessionDead
from app.broker.paths import RouteClass
from app.broker.retrying import RetryBudget, can_help, pause
from app.clock import chance, monotonic
from app.limits import Demand, Urgency
from app.problems import (
    BrokerFault,
    BrokerTimeout,
    BrokerUnavailable,
    LoginRefused,
    RateLimited,
    TemporarilyUnavailable,
    UserMismatch,
)

T = TypeVar("T")

_FAILURES = (BrokerTimeout, BrokerUnavailable, BrokerFault)
_ANSWERS = (BrokerRefused, BrokerSessionDead, LoginRefused, UserMismatch)
"""A no, and that somebody's session is dead, are answers of a broker that works."""


class Defences:
    """Those of one process."""

    def __init__(
        self, *, room: int, failures: int, now: Callable[[], float] = monotonic, jitter: Callable[[], float] = chance
    ) -> None:
        """Take the calls of one class that may be under way, and after how many failures in a row one is left alone."""
        self._now = now
        self._jitter = jitter
        self._breakers = {route: Breaker(route, failures, now, jitter) for route in RouteClass}
        self._rooms = {route: Bulkhead(room) for route in RouteClass}
        self._urgent = Bulkhead(room * 2)
        self._budget = RetryBudget()

    async def ask(
        self,
        route: RouteClass,
        demand: Demand,
        deadline: timedelta,
        question: Callable[[], Awaitable[T]],
        *,
        is_repeatable: bool = False,
    ) -> T:
        """Put a question, and once more where that can help and `is_repeatable`.

        Raises what the question does; `BrokerTimeout` when its time is over, `BrokerUnavailable` from an open breaker
        and `TemporarilyUnavailable` where there is no room, the last two with nothing sent.
        """
        began_at = self._now()
        ends_at = asyncio.get_running_loop().time() + deadline.total_seconds()
        may_repeat = is_repeatable and demand.urgency is not Urgency.IDLE
        if may_repeat:
            self._budget.earn()
        try:
            return await self._once(route, demand, ends_at, question)
        except BrokerUnavailable as problem:
            took = self._now() - began_at
            may_go = self._breakers[route].lets_through(demand.user_id, demand.urgency)
            if not (may_repeat and may_go and can_help(problem, took, deadline) and self._budget.spend()):
                raise
            measures.read_retried(route)
            await asyncio.sleep(pause(self._jitter(), deadline))
            try:
                return await self._once(route, demand, ends_at, question)
            except (RateLimited, TemporarilyUnavailable):
                raise problem from None  # what he asked for failed; that there was no leave for more is our matter

    def begin_act(self, user_id: str) -> Leave:
        """Return leave for an order call, which is always given; how it ended is told to `end_act`."""
        return self._breakers[RouteClass.ORDERS].admit(user_id)

    def end_act(self, leave: Leave, ending: Ending) -> None:
        """Take in how an order call went; many that fail are told, and none is ever kept back for it."""
        self._breakers[RouteClass.ORDERS].settle(leave, ending)

    async def _once(self, route: RouteClass, demand: Demand, ends_at: float, question: Callable[[], Awaitable[T]]) -> T:
        breaker = self._breakers[route]
        room = self._urgent if demand.urgency is Urgency.URGENT else self._rooms[route]
        leave = breaker.admit(demand.user_id, demand.urgency)
        ending = Ending.NEITHER
        try:
            async with asyncio.timeout_at(ends_at), room.place(route, demand.urgency):
                answer = await question()
            ending = Ending.ANSWERED
        except TimeoutError as error:
            ending = Ending.FAILED
            raise BrokerTimeout from error
        except _FAILURES:
            ending = Ending.FAILED
            raise
        except _ANSWERS:
            ending = Ending.ANSWERED
            raise
        finally:
            breaker.settle(leave, ending)
        return answer
