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

    async def ask(
        self,
        call: Callable[Concatenate[Gateway, SecretStr, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[T]:
        """Put one read of the gateway to the broker; raises `BrokerSessionExpired` and the `Broker…` problems."""
        broker = self.broker
        token = await self._token(broker)
        as_of = self.clock.now()
        try:
            return Reading(await call(self.gateway, token, *args, **kwargs), as_of)
        except BrokerSessionDead:
            newer = await self._after_refusal(broker)
        token, as_of = await self._token(newer), self.clock.now()
        try:
            return Reading(await call(self.gateway, token, *args, **kwargs), as_of)
        except BrokerSessionDead as error:
            await self._after_refusal(newer)
            raise BrokerSessionExpired from error

    @property
    def has_live_session(self) -> bool:
        return self.broker is not None and self.broker.reason_it_is_dead(self.clock.now()) is None

    def token(self) -> SecretStr:
        """Return the token for something that is done once; raises `BrokerSessionExpired`."""
        if self.broker is None or self.broker.reason_it_is_dead(self.clock.now()):
            raise BrokerSessionExpired
        return self._opened(self.broker)

    async def token_was_refused(self) -> None:
        """End the broker session whose token was sent, unless a newer one stands in its place."""
        await self._after_refusal(self.broker)

    async def _token(self, broker: BrokerSession | None) -> SecretStr:
        if broker is None or broker.sealed is None:
            raise BrokerSessionExpired
        if reason := broker.reason_it_is_dead(self.clock.now()):
            async with self.db.transaction() as tx:
                await store.disconnect(tx, broker.id, self.clock.now(), reason)
            raise BrokerSessionExpired
        return self._opened(broker)

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


@dataclass(frozen=True)
class Caller(Investor):
    """An investor who is signed in here and calls."""

    session: Session


async def find_investor(db: Database, clock: Clock, gateway: Gateway, ring: KeyRing, user_id: str) -> Investor:
    """Return somebody who need not be calling, with the broker session that he has now."""
    async with db.reading() as tx:
        broker = await store.find_broker_session(tx, user_id)
    return Investor(user_id, broker, clock, db, gateway, ring)
