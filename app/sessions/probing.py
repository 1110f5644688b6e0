"""A second opinion on a token that the broker refused doubtfully: the funds are asked for once, for all who doubt."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from app.broker.errors import BrokerSessionDead
from app.clock import monotonic
from app.trading import Funds

_GOOD_FOR = 10.0  # seconds; a call that is refused to a good token is often polled
_MOST = 10_000


class Probes:
    """The probes of one process, at most one at a time of each broker session."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._under_way: dict[UUID, asyncio.Task[bool]] = {}
        self._good_until: dict[UUID, float] = {}

    async def is_alive(self, broker_session: UUID, funds: Callable[[], Awaitable[Funds]]) -> bool:
        """Say whether the broker answers for the token; raises the problem of an answer that proves neither."""
        if self._good_until.get(broker_session, 0.0) > self._now():
            return True
        probe = self._under_way.get(broker_session)
        if probe is None:
            probe = self._under_way[broker_session] = asyncio.create_task(_ask(funds))
            probe.add_done_callback(lambda done: self._finish(broker_session, done))
        return await asyncio.shield(probe)

    async def aclose(self) -> None:
        """Stop asking."""
        probes = list(self._under_way.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _finish(self, broker_session: UUID, done: asyncio.Task[bool]) -> None:
        self._under_way.pop(broker_session, None)
        if done.cancelled() or done.exception() or not done.result():
            return
        now = self._now()
        if len(self._good_until) >= _MOST:
            self._good_until = {known: until for known, until in self._good_until.items() if until > now}
        self._good_until[broker_session] = now + _GOOD_FOR


async def _ask(funds: Callable[[], Awaitable[Funds]]) -> bool:
    try:
        await funds()
    except BrokerSessionDead:
        return False
    return True
