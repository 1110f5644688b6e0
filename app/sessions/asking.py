"""Asking the broker on an investor's behalf: with his live token, and once more only if a newer one has come.

The first refusal of a token ends the broker session for all his devices; after it nothing more goes to the broker
until he signs in again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Concatenate, Generic, ParamSpec, TypeVar

from pydantic import SecretStr

from app.broker.errors import BrokerSessionDead
from app.broker.gateway import Gateway
from app.broker.permits import Bearer
from app.clock import Clock
from app.db import Database
from app.observability import logger
from app.problems import BrokerSessionExpired
from app.safeguards.sealing import CannotOpen, KeyRing
from app.sessions import store
from app.sessions.store import BrokerSession, Session

P = ParamSpec("P")
T = TypeVar("T")

_log = logger(__name__)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """An answer of the broker's and the moment at which it was asked for."""

    answer: T
    as_of: datetime


@dataclass(frozen=True)
class Investor:
    """Somebody with or without a broker session, and what it takes to ask the broker for him."""

    user_id: str
    broker: BrokerSession | None
    clock: Clock
    db: Database
    gateway: Gateway
    ring: KeyRing
    is_urgent: bool = False
    """Whether what is asked for him may use what is kept back of the limits."""

    async def ask(
        self,
        call: Callable[Concatenate[Gateway, Bearer, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[T]:
        """Put one read of the gateway to the broker.

        Raises `BrokerSessionExpired`, `RateLimited`, `TemporarilyUnavailable` and the `Broker…` problems.
        """
        broker = self.broker
        bearer = await self._bearer(broker)
        as_of = self.clock.now()
        try:
            return Reading(await call(self.gateway, bearer, *args, **kwargs), as_of)
        except BrokerSessionDead:
            newer = await self._after_refusal(broker)
        bearer, as_of = await self._bearer(newer), self.clock.now()
        try:
            return Reading(await call(self.gateway, bearer, *args, **kwargs), as_of)
        except BrokerSessionDead as error:
            await self._after_refusal(newer)
            raise BrokerSessionExpired from error

    @property
    def has_live_session(self) -> bool:
        return self.broker is not None and self.broker.reason_it_is_dead(self.clock.now()) is None

    def bearer(self) -> Bearer:
        """Return on whose behalf something is done once; raises `BrokerSessionExpired`."""
        if self.broker is None or self.broker.reason_it_is_dead(self.clock.now()):
            raise BrokerSessionExpired
        return Bearer(self.user_id, self._opened(self.broker), is_urgent=self.is_urgent)

    async def token_was_refused(self) -> None:
        """End the broker session whose token was sent, unless a newer one stands in its place."""
        await self._after_refusal(self.broker)

    async def _bearer(self, broker: BrokerSession | None) -> Bearer:
        if broker is None or broker.sealed is None:
            raise BrokerSessionExpired
        if reason := broker.reason_it_is_dead(self.clock.now()):
            async with self.db.transaction() as tx:
                await store.disconnect(tx, broker.id, self.clock.now(), reason)
            raise BrokerSessionExpired
        return Bearer(self.user_id, self._opened(broker), is_urgent=self.is_urgent)

    def _opened(self, broker: BrokerSession) -> SecretStr:
        if broker.sealed is None:
            raise BrokerSessionExpired
        try:
            return self.ring.open(broker.sealed, broker.place)
        except CannotOpen as error:
            _log.error("broker_token_unreadable", user=self.user_id, reason=str(error))
            raise BrokerSessionExpired from error

    async def _after_refusal(self, refused: BrokerSession | None) -> BrokerSession | None:
        """End the refused session, unless a newer one stands in its place already; return what stands now."""
        async with self.db.transaction() as tx:
            if refused and await store.disconnect(tx, refused.id, self.clock.now(), store.REFUSED):
                _log.info("broker_session_refused", user=self.user_id, broker_session=str(refused.id))
            return await store.find_broker_session(tx, self.user_id)


@dataclass(frozen=True, kw_only=True)
class Caller(Investor):
    """An investor who is signed in here and calls."""

    session: Session


async def find_investor(db: Database, clock: Clock, gateway: Gateway, ring: KeyRing, user_id: str) -> Investor:
    """Return somebody who need not be calling, with the broker session that he has now; what is asked is urgent."""
    async with db.reading() as tx:
        broker = await store.find_broker_session(tx, user_id)
    return Investor(user_id, broker, clock, db, gateway, ring, is_urgent=True)
