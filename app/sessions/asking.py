"""Asking the broker on an investor's behalf: with his live token, and once more only if a newer one has come.

The first refusal of a token ends the broker session for all his devices; after it nothing more goes to the broker
until he signs in again. Where a refusal is doubtful, the funds are asked for once before it is believed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Concatenate, Generic, ParamSpec, TypeVar

from pydantic import SecretStr
from typing_extensions import override

from app.broker.errors import BrokerSessionDead
from app.broker.gateway import Gateway
from app.broker.permits import Bearer
from app.clock import Clock
from app.db import Database
from app.limits import Urgency
from app.observability import logger
from app.problems import BrokerFault, BrokerSessionExpired
from app.safeguards.sealing import CannotOpen, KeyRing
from app.sessions import store
from app.sessions.looks_store import SessionLooks
from app.sessions.probing import Probes
from app.sessions.refreshing import Refreshing
from app.sessions.remembering import Remembered
from app.sessions.store import BrokerSession, Freshness, Session
from app.sessions.unchanged import Unchanged, Version

P = ParamSpec("P")
T = TypeVar("T")

_log = logger(__name__)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """An answer of the broker's and the moment at which it was asked for."""

    answer: T
    as_of: datetime
    written: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, compare=False, repr=False)
    """The bodies that were made of the answer and nothing else, by route, in two parts around that moment.

    Shown again, or come again as the very same, it is not written again.
    """


Question = Callable[["Caller"], Awaitable[Reading[T]]]
"""Something that can be asked for whoever calls."""


@dataclass(frozen=True)
class Means:
    """What it takes to ask the broker for anybody."""

    clock: Clock
    db: Database
    gateway: Gateway
    ring: KeyRing
    remembered: Remembered
    looks: SessionLooks
    refreshing: Refreshing[Freshness]
    unchanged: Unchanged
    probes: Probes


@dataclass(frozen=True, kw_only=True)
class Investor(Means):
    """Somebody with or without a broker session, and what it takes to ask the broker for him."""

    user_id: str
    broker: BrokerSession | None
    last_event: int
    """The number of his newest order event when he was looked up; what a later one has written is unknown to him."""
    urgency: Urgency = Urgency.ORDINARY
    """How much of the limits may be used by what is asked for him."""

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
        except BrokerSessionDead as refusal:
            newer = await self._after_refusal(broker, _judged(refusal, call))
        bearer, as_of = await self._bearer(newer), self.clock.now()
        try:
            return Reading(await call(self.gateway, bearer, *args, **kwargs), as_of)
        except BrokerSessionDead as error:
            await self._after_refusal(newer, _judged(error, call))
            raise BrokerSessionExpired from error

    @property
    def version(self) -> Version | None:
        """The numbers that grow with his order calls and order events, none where nobody has asked for both."""
        return None

    @property
    def has_live_session(self) -> bool:
        return self.broker is not None and self.broker.reason_it_is_dead(self.clock.now()) is None

    def bearer(self) -> Bearer:
        """Return on whose behalf something is done once; raises `BrokerSessionExpired`."""
        if self.broker is None or self.broker.reason_it_is_dead(self.clock.now()):
            raise BrokerSessionExpired
        return Bearer(self.user_id, self._opened(self.broker), urgency=self.urgency)

    async def is_token_dead(self, *, is_doubtful: bool) -> bool:
        """Say whether the token that was refused is dead, and end its broker session then.

        Raises `TemporarilyUnavailable`, and what a probe does.
        """
        return self.broker is None or await self._is_dead(self.broker, is_doubtful=is_doubtful)

    async def _bearer(self, broker: BrokerSession | None) -> Bearer:
        if broker is None or broker.sealed is None:
            raise BrokerSessionExpired
        if reason := broker.reason_it_is_dead(self.clock.now()):
            async with self.db.transaction() as tx:
                await store.disconnect(tx, broker.id, self.clock.now(), reason)
            self.remembered.forget(self.user_id)
            raise BrokerSessionExpired
        return Bearer(self.user_id, self._opened(broker), urgency=self.urgency)

    def _opened(self, broker: BrokerSession) -> SecretStr:
        if broker.sealed is None:
            raise BrokerSessionExpired
        try:
            return self.ring.open(broker.sealed, broker.place)
        except CannotOpen as error:
            _log.error("broker_token_unreadable", user=self.user_id, reason=str(error))
            raise BrokerSessionExpired from error

    async def _after_refusal(self, refused: BrokerSession | None, refusal: BrokerSessionDead) -> BrokerSession | None:
        """Return the broker session that stands now; raises `BrokerFault` where the refused one lives all the same."""
        if refused and not await self._is_dead(refused, is_doubtful=refusal.is_doubtful):
            raise BrokerFault("The broker refused this call, though the session lives.") from refusal
        async with self.db.reading() as tx:
            return await store.find_broker_session(tx, self.user_id)

    async def _is_dead(self, refused: BrokerSession, *, is_doubtful: bool) -> bool:
        """Judge a refusal; a session that is dead is ended, once, unless a newer one has taken its place."""
        if is_doubtful and await self._is_alive(refused):
            return False
        async with self.db.transaction() as tx:
            if await store.disconnect(tx, refused.id, self.clock.now(), store.REFUSED):
                _log.info("broker_session_refused", user=self.user_id, broker_session=str(refused.id))
        self.remembered.forget(self.user_id)
        return True

    async def _is_alive(self, doubted: BrokerSession) -> bool:
        """Ask for the funds with the very token, unless it has been replaced or ended meanwhile."""
        async with self.db.reading() as tx:
            present = await store.find_broker_session(tx, self.user_id)
        if present is None or present.id != doubted.id or present.ended_reason:
            return False
        bearer = Bearer(self.user_id, self._opened(doubted), urgency=self.urgency)
        return await self.probes.is_alive(doubted.id, lambda: self.gateway.funds(bearer))


def _judged(refusal: BrokerSessionDead, call: object) -> BrokerSessionDead:
    """Return the refusal of a call; that of the funds is the second opinion itself."""
    return BrokerSessionDead(is_doubtful=refusal.is_doubtful and call is not Gateway.funds)


@dataclass(frozen=True, kw_only=True)
class Caller(Investor):
    """An investor who is signed in here and calls."""

    session: Session
    freshness: Freshness
    """What decides about earlier answers, as of the look for the session or of a later one."""
    is_remembered: bool
    """Whether the session was looked up for an earlier request, at most a second ago."""

    @property
    @override
    def version(self) -> Version:
        return self.freshness.version

    async def refreshed(self) -> "Caller":
        """Return the caller with what decides about earlier answers as it is now, were it remembered or not."""
        if not self.is_remembered:
            return self
        freshness = await self.refreshing.of(self.user_id)
        return replace(self, freshness=freshness, last_event=freshness.last_event, is_remembered=False)


async def find_investor(means: Means, user_id: str, urgency: Urgency = Urgency.URGENT) -> Investor:
    """Return somebody who need not be calling, with the broker session that he has now."""
    async with means.db.reading() as tx:
        broker, last_event = await store.find_standing(tx, user_id)
    return Investor(**vars(means), user_id=user_id, broker=broker, last_event=last_event, urgency=urgency)


def asking(
    call: Callable[Concatenate[Gateway, Bearer, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> Question[T]:
    """Return the question that one read of the gateway answers."""
    return lambda caller: caller.ask(call, *args, **kwargs)
