"""What happens when the broker sends somebody back: attempt, code, exchange, session, in this order and once."""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import SecretStr

from app import measures
from app.broker.errors import BrokerSessionDead
from app.broker.login import BrokerLogin
from app.broker.permits import Bearer
from app.clock import random_bytes
from app.db import Transaction
from app.observability import logger
from app.problems import (
    AuthCodeUsed,
    LoginRefused,
    Problem,
    RateLimited,
    TemporarilyUnavailable,
    UserBlocked,
    UserMismatch,
    problem_of,
)
from app.safeguards import watches
from app.safeguards.audit import Ledger
from app.safeguards.blocks import has_block
from app.sessions import store as sessions_store
from app.sessions.asking import Means, find_investor
from app.sessions.hooks import Hooks
from app.sessions.lifetimes import broker_session_end, idle_end
from app.sessions.tokens import session_token, token_hash
from app.settings import Settings
from app.sso import store
from app.sso.attempts import read_attempts
from app.sso.spending import Claim, claim, outcome_of
from app.sso.switching import leave_to_switch
from app.trading import Profile

_log = logger(__name__)

_CODE_OF_KNOWN_FORM = re.compile(r"[A-Z0-9]{20}")  # docs/broker.md, "Exchange"
_PROFILE_PATIENCE = 2.0  # seconds; the name is a courtesy and must not hold up a sign-in
_OTHER_CLIENT = "Somebody else is signed in here than the client who has come back from the broker."


@dataclass(frozen=True)
class Callback:
    """What the browser brought: the broker's two parameters, our cookies, and what it says of itself."""

    auth_code: str
    user_id: str
    login_cookie: str
    former_token: SecretStr | None
    user_agent: str | None
    address_prefix: str | None


@dataclass(frozen=True)
class SignedInAgain:
    """A session begun: what its cookie holds, where the browser goes now, and whether this visit began it."""

    token: SecretStr
    return_to: str
    is_first: bool


class _NotSent(Exception):
    """Our own limits stopped an exchange before its first byte; its code is free again and nothing noted of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.slug)
        self.problem = problem


class SignIn:
    """One replica's part in signing somebody in."""

    def __init__(self, settings: Settings, means: Means, hooks: Hooks) -> None:
        self._settings = settings
        self._hooks = hooks
        self._means = means
        self._clock = means.clock
        self._db = means.db
        self._gateway = means.gateway
        self._ring = means.ring
        self._ledger = Ledger(means.ring)

    async def complete(self, callback: Callback) -> SignedInAgain:
        """Turn a callback into a session.

        Raises `LoginAttemptMissing` and `AuthCodeUsed` before anything goes to the broker; `LoginRefused`,
        `UserMismatch` and the `Broker…` problems after.
        """
        attempts = read_attempts(self._ring, callback.login_cookie, self._clock.now())
        claimed = await claim(self._db, self._clock, attempts, callback.auth_code)
        token = session_token(self._ring, attempts.key_id, claimed.attempt.id, callback.auth_code)
        try:
            await (self._exchange if claimed.is_first else self._join)(callback, claimed, token)
        except _NotSent as stopped:
            raise self._told(stopped.problem, callback, claimed) from stopped
        except Problem as problem:
            raise self._told(problem, callback, claimed) from None
        return SignedInAgain(token, claimed.attempt.return_to, claimed.is_first)

    def _told(self, problem: Problem, callback: Callback, claimed: Claim) -> Problem:
        """Return a problem with what its page needs: where one was going, and leave to switch where that is asked."""
        problem.return_to = claimed.attempt.return_to
        if problem.detail == _OTHER_CLIENT and callback.former_token:
            problem.switch = leave_to_switch(self._ring, callback.former_token)
        return problem

    async def _exchange(self, callback: Callback, claimed: Claim, token: SecretStr) -> None:
        try:
            await self._refuse_other_client(callback, claimed, callback.user_id.upper())
            login = await self._login(callback, claimed)
            profile = None if login.is_confirmed else await self._confirm(login, callback)
            broker_session_id = await self._begin_session(callback, claimed, token, login)
        except Problem as problem:
            async with self._db.transaction() as tx:
                await store.finish(tx, claimed.code_hash, self._clock.now(), problem.slug, problem.detail)
            measures.sign_in_ended(problem.slug)
            _log.info("sign_in_failed", problem=problem.slug)
            raise
        measures.sign_in_ended("signed-in")
        _log.info("signed_in", user=login.user_id)
        self._hooks.signed_in(login.user_id)
        if login.is_confirmed:
            # Last, because the older token died with the exchange: whoever reads meanwhile needs the new one stored.
            profile = await self._profile_or_end(login, broker_session_id)
        if profile:
            async with self._db.transaction() as tx:
                await store.remember_user(tx, login.user_id, profile, self._clock.now())

    async def _refuse_other_client(self, callback: Callback, claimed: Claim, coming: str) -> None:
        """Leave whoever is signed in here alone, unless this sign-in was begun to take his place.

        What comes back is another's word in an address: it must not put an investor into somebody else's account.
        """
        if claimed.attempt.may_switch:
            return
        async with self._db.reading() as tx:
            former = await self._former(tx, callback)
        if former and former.user_id != coming and self._is_live(former):
            raise UserMismatch(_OTHER_CLIENT)

    async def _former(self, tx: Transaction, callback: Callback) -> sessions_store.Session | None:
        return await sessions_store.find(tx, token_hash(callback.former_token)) if callback.former_token else None

    def _is_live(self, session: sessions_store.Session) -> bool:
        return session.ended_reason is None and self._clock.now() < idle_end(session, self._settings)

    async def _login(self, callback: Callback, claimed: Claim) -> BrokerLogin:
        """Exchange the code; what our own limits stopped was not sent, and may come again with the same code."""
        try:
            return await self._gateway.exchange(callback.user_id, callback.auth_code)
        except (RateLimited, TemporarilyUnavailable) as problem:
            async with self._db.transaction() as tx:
                await store.unspend(tx, claimed.code_hash)
            raise _NotSent(problem) from problem

    async def _profile_or_end(self, login: BrokerLogin, broker_session_id: UUID) -> Profile | None:
        """Ask for the profile, and end the broker session just begun if its token is refused already."""
        try:
            return await self._profile(login)
        except BrokerSessionDead as refusal:
            investor = await find_investor(self._means, login.user_id)
            if investor.broker and investor.broker.id == broker_session_id:
                await investor.is_token_dead(is_doubtful=refusal.is_doubtful)
            return None

    async def _join(self, callback: Callback, claimed: Claim, token: SecretStr) -> None:
        """End as the first callback with this attempt and code ended, as long as its session has not been ended."""
        finished = await outcome_of(
            self._db, claimed, within=self._settings.broker_read_deadline + timedelta(seconds=4)
        )
        if finished is None:
            raise AuthCodeUsed
        if finished.outcome != store.SIGNED_IN:
            raise problem_of(finished.outcome or "", finished.outcome_detail)
        async with self._db.reading() as tx:
            session = await sessions_store.find(tx, token_hash(token))
        if session is None or session.ended_reason:
            raise AuthCodeUsed
        await self._refuse_other_client(callback, claimed, session.user_id)

    async def _confirm(self, login: BrokerLogin, callback: Callback) -> Profile | None:
        """Find out whose token this is where the exchange did not say.

        Raises `UserMismatch` when it is another's, `LoginRefused` when it can't be known: without the profile only a
        code of the known form shows that the callback's user id ends where the broker's did.
        """
        try:
            profile = await self._profile(login)
        except BrokerSessionDead as error:
            raise LoginRefused("The broker refused the session that it had just given.") from error
        if profile is None and not _CODE_OF_KNOWN_FORM.fullmatch(callback.auth_code):
            raise LoginRefused("The broker did not say who has logged in.")
        return profile

    async def _profile(self, login: BrokerLogin) -> Profile | None:
        """Ask for the name to greet him by; a confirmed sign-in stands without it.

        Raises `UserMismatch`, and `BrokerSessionDead` when the token is refused.
        """
        try:
            async with asyncio.timeout(_PROFILE_PATIENCE):
                profile = await self._gateway.profile(Bearer(login.user_id, login.token, is_proven=login.is_confirmed))
        except (Problem, TimeoutError) as error:
            _log.warning("profile_not_read", reason=type(error).__name__)
            return None
        if profile.id == login.user_id:
            return profile
        if not login.is_confirmed:
            raise UserMismatch("The broker's profile names another user than the one who came back.")
        _log.error("profile_of_another_user", user=login.user_id)
        return None

    async def _begin_session(self, callback: Callback, claimed: Claim, token: SecretStr, login: BrokerLogin) -> UUID:
        """Store everything that a sign-in begins, and return the id of the broker session.

        Raises `UserBlocked`; of a blocked user the broker session alone is stored, where an order of his is still
        looked after: the token that did so until now has died with the exchange.
        """
        now = self._clock.now()
        broker_session_id = _new_id()
        sealed = self._ring.seal(login.token, sessions_store.token_place(broker_session_id))
        dies_at = broker_session_end(now, login.token, self._settings.broker_session_cutoffs)
        beginning = self._beginning(callback, login.user_id, token, now)
        facts = {"session": str(beginning.session_id), "brokerSession": str(broker_session_id)}
        async with self._db.transaction() as tx:
            await self._ledger.lock(tx, login.user_id)  # whoever blocks him holds it too: one of the two comes first
            is_blocked = await has_block(tx, login.user_id)
            if not is_blocked:
                await self._ledger.write(tx, login.user_id, "signed-in", actor=login.user_id, facts=facts)
                await store.remember_user(tx, login.user_id, None, now)
            if not is_blocked or await watches.is_watched(tx, login.user_id):
                await sessions_store.connect(tx, login.user_id, broker_session_id, sealed, now, dies_at)
            if not is_blocked:
                await self._end_former(tx, callback, now)
                await sessions_store.begin(tx, beginning)
                await store.finish(tx, claimed.code_hash, now, store.SIGNED_IN, None)
        self._means.remembered.forget(login.user_id)
        if is_blocked:
            raise UserBlocked
        return broker_session_id

    async def _end_former(self, tx: Transaction, callback: Callback, now: datetime) -> None:
        """End the session that this browser had."""
        if former := await self._former(tx, callback):
            await sessions_store.end(tx, former.user_id, former.id, now, sessions_store.REPLACED)
            self._means.remembered.forget(former.user_id)

    def _beginning(self, callback: Callback, user_id: str, token: SecretStr, now: datetime) -> sessions_store.Beginning:
        return sessions_store.Beginning(
            session_id=_new_id(),
            token_hash=token_hash(token),
            user_id=user_id,
            begun_at=now,
            expires_at=now + self._settings.session_absolute_timeout,
            user_agent=callback.user_agent,
            address_prefix=callback.address_prefix,
        )


def _new_id() -> UUID:
    return UUID(bytes=random_bytes(16), version=4)
