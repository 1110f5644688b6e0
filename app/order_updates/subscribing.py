"""Where the broker is asked to post a user's order updates: one address for each user, which nobody can guess.

Its token is derived from the ring, so that it is the same at every sign-in; the database has its hash alone.
"""

import asyncio
import base64

from pydantic import SecretStr

from app.broker.errors import BrokerSessionDead
from app.broker.gateway import Gateway
from app.broker.permits import Bearer
from app.db import Database
from app.limits import Urgency
from app.observability import logger
from app.order_updates import webhooks_store
from app.order_updates.receiving import token_hash
from app.order_updates.webhooks_store import Webhook
from app.problems import Problem, TemporarilyUnavailable
from app.safeguards.sealing import CannotOpen, KeyRing
from app.sessions.asking import Means, find_investor

_log = logger("webhooks")

PATH = "/broker/webhooks/"
_PURPOSE = "webhook-token"
_AT_ONCE = 4  # subscriptions that one process has under way
_PATIENCE = 2.0  # seconds; nobody's log-out waits longer for the broker


class Webhooks:
    """One replica's part in keeping the broker's posts coming."""

    def __init__(self, means: Means, public_base_url: str) -> None:
        self._means = means
        self._base_url = f"{public_base_url}{PATH}"
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def signed_in(self, user_id: str) -> None:
        """Subscribe for a user in the background; whatever becomes of it, the poll goes on."""
        task = asyncio.create_task(self._safely_subscribe(user_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def logged_out(self, bearer: Bearer) -> None:
        """Take no more posts for a user, and tell the broker so while his token still lives."""
        try:
            async with self._db.transaction() as tx:
                webhook = await webhooks_store.find(tx, bearer.user_id)
                await webhooks_store.forget(tx, bearer.user_id)
        except TemporarilyUnavailable:  # he is logged out all the same, and hints for him go nowhere
            _log.warning("webhook_not_forgotten", user=bearer.user_id)
            return
        if webhook:
            await self._unsubscribe(bearer, webhook)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _db(self) -> Database:
        return self._means.db

    async def _safely_subscribe(self, user_id: str) -> None:
        async with self._turn:
            try:
                await self._subscribe(user_id)
            except (Problem, BrokerSessionDead) as refusal:
                # That this call was refused does not prove the token dead: nobody has met it. The next read will tell.
                _log.info("webhook_not_subscribed", user=user_id, reason=_told(refusal))

    async def _subscribe(self, user_id: str) -> None:
        """Keep the address before it is told, so that the first post is known; then give up the one of an older key."""
        webhook = self._wanted(user_id)
        async with self._db.transaction() as tx:
            former = await webhooks_store.find(tx, user_id) or webhook
            await webhooks_store.keep(tx, webhook)
        try:
            bearer = (await find_investor(self._means, user_id, Urgency.IDLE)).bearer()
            await self._means.gateway.subscribe(bearer, _url(self._means.ring, webhook))
        except (Problem, BrokerSessionDead):
            async with self._db.transaction() as tx:
                await webhooks_store.take_back(tx, webhook, former)  # the broker goes on posting there
            raise
        async with self._db.reading() as tx:
            is_wanted = await webhooks_store.is_known(tx, webhook)
        if not is_wanted:  # he has logged out everywhere meanwhile
            await self._unsubscribe(bearer, webhook)
        elif former.url_parts != webhook.url_parts:
            await self._unsubscribe(bearer, former)

    def _wanted(self, user_id: str) -> Webhook:
        key_id = self._means.ring.sealing_key_id
        return Webhook(user_id, token_hash(_token(self._means.ring, key_id, user_id)), key_id, self._base_url)

    async def _unsubscribe(self, bearer: Bearer, webhook: Webhook) -> None:
        gateway: Gateway = self._means.gateway
        try:
            async with asyncio.timeout(_PATIENCE):
                await gateway.unsubscribe(bearer, _url(self._means.ring, webhook))
        except (Problem, BrokerSessionDead, CannotOpen, TimeoutError) as refusal:
            _log.info("webhook_not_unsubscribed", user=bearer.user_id, reason=_told(refusal))


def _told(refusal: Exception) -> str:
    """Return what the log is told: what it was, and in the broker's words where it has some."""
    if not isinstance(refusal, Problem):
        return type(refusal).__name__
    return f"{refusal.slug}: {refusal.detail}" if refusal.detail else refusal.slug


def _token(ring: KeyRing, key_id: str, user_id: str) -> str:
    digest = ring.sign(_PURPOSE, user_id.encode(), key_id=key_id)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _url(ring: KeyRing, webhook: Webhook) -> SecretStr:
    """Return an address; raises `CannotOpen` where the ring lacks its key by now."""
    return SecretStr(f"{webhook.base_url}{_token(ring, webhook.key_id, webhook.user_id)}")
