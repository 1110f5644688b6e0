"""One listener: up to which event he has been told, and what comes next.

He keeps a number and nothing else: the few newest events of a user are kept once for all who listen to them, older ones
are read from Postgres.
"""

import asyncio
from collections import deque
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.clock import monotonic
from app.db import Database
from app.order_updates import wire
from app.order_updates.store import events_after
from app.orderbook.events import OrderEvent
from app.problems import TemporarilyUnavailable

RECONNECT, UNAVAILABLE = "reconnect", TemporarilyUnavailable.slug
"""Why a stream ends that may be opened again at once, or soon."""
_RECENT = 50  # events kept of one user
_PAGE = 100


class Place(NamedTuple):
    """Whose stream it is, by which session, and what is known of him as it is opened."""

    user_id: str
    session_id: UUID
    last_event: int
    epoch: int


class Topic:
    """One user to whose orders somebody listens: the number of his newest event, and the last few of them as bytes."""

    def __init__(self, user_id: str, head: int, epoch: int) -> None:
        self.user_id = user_id
        self.head = head
        self.epoch = epoch
        self.listeners: set[Listener] = set()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT)

    def add(self, event: OrderEvent) -> None:
        if event.id > self.head:
            self._recent.append((event.id, wire.update(event)))
            self.head = event.id

    def take_over(self, epoch: int) -> None:
        """Take over the user's book epoch, and wake whoever has not been told all by now."""
        self.epoch = epoch
        for listener in self.listeners:
            if listener.told < self.head or listener.epoch_told != epoch:
                listener.wake()

    def recent_after(self, number: int) -> list[tuple[int, bytes]] | None:
        """Return what is behind a number, none where some of it is not kept any more."""
        if not self._recent or self._recent[0][0] > number + 1:
            return None
        return [each for each in self._recent if each[0] > number]


class Listener:
    """One stream: up to which event it has been told, and why it ends once it does."""

    __slots__ = ("_db", "_news", "ends_at", "ends_on", "epoch_told", "reason", "session_id", "told", "topic")

    def __init__(self, db: Database, topic: Topic, session_id: UUID, told: int, ends_on: datetime) -> None:
        self._db = db
        self._news = asyncio.Event()
        self.topic = topic
        self.session_id = session_id
        self.told = told
        self.epoch_told = topic.epoch
        self.ends_on = ends_on
        self.ends_at = float("inf")
        self.reason: str | None = None

    def end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    async def next(self, heartbeat: float) -> bytes:
        """Return what goes over the wire next: news at once, a sign of life after so many seconds without any.

        Nothing where there is a reason to end instead. Raises `TemporarilyUnavailable`.
        """
        if self.told < self.topic.head:
            return await self._take()
        if self.epoch_told != self.topic.epoch:
            self.epoch_told = self.topic.epoch
            return wire.placements_changed()
        left = self.ends_at - monotonic()
        try:
            async with asyncio.timeout(min(heartbeat, left)):
                await self._news.wait()
        except TimeoutError:
            if left > heartbeat:
                return wire.HEARTBEAT
            self.end(RECONNECT)
        self._news.clear()
        return b""

    async def _take(self) -> bytes:
        """Return the next events, at most a page of them."""
        found = self.topic.recent_after(self.told)
        if found is None:
            async with self._db.reading() as tx:
                events = await events_after(tx, self.topic.user_id, self.told, _PAGE)
            found = [(event.id, wire.update(event)) for event in events]
        self.told = found[-1][0] if found else self.topic.head  # what was purged is told by the jump in the ids
        return b"".join(content for _, content in found)
