"""Who listens on this process; one look a second for all of them together.

A notice shortens the second (docs/decisions/0013); without any, the look finds out as well
what is new, and who has logged out, is blocked or has expired meanwhile.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Never
from uuid import UUID

from app import measures
from app.clock import Clock, monotonic, random_bytes
from app.db import Database, Transaction
from app.observability import logger
from app.order_updates import looks_store
from app.order_updates.listener import RECONNECT, UNAVAILABLE, Listener, Place, Topic
from app.order_updates.store import news_of
from app.problems import BrokerSessionExpired, NotSignedIn, SessionExpired, TemporarilyUnavailable, UserBlocked
from app.rounds import safely
from app.sessions.lifetimes import refuse_dead
from app.sessions.standings_store import Standing, standings_of
from app.sessions.store import REPLACED
from app.settings import Settings

_log = logger("listening")

_SIGNED_OUT = "signed-out"
_EVERY = 0.7  # seconds between two looks at everybody, so that all is told within one even without a notice
_BLIND_FOR = 5.0  # seconds without any look, after which a stream says so rather than seem to live
_NOTED_EVERY = looks_store.LISTENED_FOR.total_seconds() / 3
_MOST_NEWS = 1000  # events fetched at once
_SHARE_OF_ONE = 4  # one user has at most this part of all places


class Listeners:
    """Everybody who listens on this process."""

    def __init__(self, db: Database, clock: Clock, settings: Settings) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._topics: dict[str, Topic] = {}
        self._count = 0
        self._dirty: set[str] = set()
        self._has_news = asyncio.Event()
        self._looked_at = self._noted_at = float("-inf")
        self._unnoted: set[str] = set()
        self._seen_at = monotonic()
        self._is_stopping = False

    def refuse_if_full(self, user_id: str) -> None:
        """Raise `TemporarilyUnavailable` where all places are taken, or all that one user may have."""
        topic, most = self._topics.get(user_id), self._settings.order_streams_per_process
        of_user = len(topic.listeners) if topic else 0
        if self._count >= most or of_user >= max(most // _SHARE_OF_ONE, 1):
            raise TemporarilyUnavailable("Too many order update streams are open here.", wait=5)

    @contextmanager
    def joined(self, place: Place, told: int) -> Iterator[Listener]:
        """Have somebody listen who has been told everything up to a number."""
        topic = self._topics.get(place.user_id)
        if topic is None:
            topic = self._topics[place.user_id] = Topic(place.user_id, place.last_event, place.epoch)
            self._unnoted.add(place.user_id)
            self._mark(place.user_id)
        life = self._settings.order_stream_life * (0.9 + random_bytes(1)[0] / 2560)  # lest all come back at once
        listener = Listener(self._db, topic, place.session_id, told, self._clock.now() + life)
        listener.ends_at = monotonic() + life.total_seconds()
        topic.listeners.add(listener)
        self._count += 1
        measures.streams_changed(+1)
        if self._is_stopping:
            listener.end(RECONNECT)
        try:
            yield listener
        finally:
            self._count -= 1
            measures.streams_changed(-1)
            topic.listeners.discard(listener)
            if not topic.listeners and self._topics.get(place.user_id) is topic:
                del self._topics[place.user_id]

    def heard(self, user_id: str | None) -> None:
        """Take a notice that a user, or with none anybody, has new events or other sessions."""
        if user_id is None:
            self._looked_at = float("-inf")
            self._has_news.set()
        elif user_id in self._topics:
            self._mark(user_id)

    def stop(self) -> None:
        """Tell everybody to come back, to another replica perhaps: this one ends."""
        if not self._is_stopping:
            self._is_stopping = True
            self._end(self._topics, RECONNECT)

    async def run(self) -> Never:
        """Look, for ever: once a second at everybody, and at once at those of whom there is a notice."""
        while True:
            users = await self._next_users()
            if not self._topics or await safely(_log, self._look_in_time(users), "look_failed"):
                self._seen_at = monotonic()
            elif monotonic() - self._seen_at > _BLIND_FOR:
                self._end(self._topics, UNAVAILABLE)

    async def _look_in_time(self, users: Collection[str]) -> bool:
        """Return whether the database was asked and has answered; one that hangs has not."""
        try:
            async with asyncio.timeout(_BLIND_FOR):
                return bool(users) and await self._look_at(users)
        except TimeoutError:
            return False

    def _mark(self, user_id: str) -> None:
        self._dirty.add(user_id)
        self._has_news.set()

    async def _next_users(self) -> set[str]:
        due_in = self._looked_at + _EVERY - monotonic()
        if due_in > 0:
            try:
                async with asyncio.timeout(due_in):
                    await self._has_news.wait()
            except TimeoutError:
                pass
        self._has_news.clear()
        if self._looked_at + _EVERY > monotonic():
            dirty, self._dirty = self._dirty & self._topics.keys(), set()
            return dirty
        self._looked_at = monotonic()
        self._dirty = set()
        return set(self._topics)

    async def _look_at(self, users: Collection[str]) -> bool:
        """Judge the sessions of these users' listeners, and fetch their news; return that it was done."""
        heads = {user: self._topics[user].head for user in users}
        wanted = [listener for user in users for listener in self._topics[user].listeners]
        async with self._db.reading() as tx:
            found = await standings_of(tx, {each.session_id for each in wanted})
            self._judge(wanted, found)
            standings = {each.user_id: each for each in found.values()}
            self._end([user for user, each in standings.items() if each.last_event < heads[user]], RECONNECT)
            await self._fetch(tx, standings)
        await self._note()
        return True

    def _judge(self, listeners: Collection[Listener], standings: Mapping[UUID, Standing]) -> None:
        """End the streams of those sessions that let nobody listen any more."""
        now = self._clock.now()
        reasons = {each: reason_to_end(standing, now, self._settings) for each, standing in standings.items()}
        for listener in listeners:
            if reason := reasons.get(listener.session_id, _SIGNED_OUT):
                listener.end(reason)

    async def _fetch(self, tx: Transaction, standings: Mapping[str, Standing]) -> None:
        """Take over what is new of users, each by one of his sessions, and wake those who listen."""
        topics = {user_id: topic for user_id in standings if (topic := self._topics.get(user_id))}
        behind = {
            user_id: topic.head for user_id, topic in topics.items() if standings[user_id].last_event > topic.head
        }
        news = await news_of(tx, behind, _MOST_NEWS) if behind else []
        for user_id, event in news:
            topics[user_id].add(event)
        for user_id, topic in topics.items():
            topic.take_over(standings[user_id].epoch)
        if len(news) == _MOST_NEWS:
            self._dirty |= behind.keys()
            self._has_news.set()

    async def _note(self) -> None:
        """Say whom we listen to, so that somebody looks at their books."""
        is_time = monotonic() - self._noted_at >= _NOTED_EVERY
        self._unnoted &= self._topics.keys()
        users = set(self._topics) if is_time else set(self._unnoted)
        if not users:
            return
        async with self._db.transaction() as tx:
            await looks_store.listen(tx, users)
        self._unnoted -= users
        if is_time:
            self._noted_at = monotonic()

    def _end(self, users: Collection[str], reason: str) -> None:
        for topic in filter(None, map(self._topics.get, users)):
            for listener in topic.listeners:
                listener.end(reason)


def reason_to_end(standing: Standing, now: datetime, settings: Settings) -> str | None:
    """Return why nobody may listen with this session any more, none while he may.

    One that was replaced by a sign-in in the same browser leaves it to the new cookie.
    """
    if standing.ended_reason == REPLACED:
        return RECONNECT
    try:
        refuse_dead(standing, now, settings)
    except NotSignedIn:
        return _SIGNED_OUT
    except (SessionExpired, UserBlocked) as problem:
        return problem.slug
    return BrokerSessionExpired.slug if standing.reason_broker_is_dead(now) else None
