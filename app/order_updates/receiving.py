"""What the broker posts is a hint and never truth: it has somebody's book looked at, and changes nothing by itself.

A post costs a hash and a place in a small set. What is in it goes to the database a few times a second, all at once, so
that a flood costs no more than a trickle; how often a book is read because of it the store bounds (looks_store.py).
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Never, TypeVar

from pydantic import SecretStr

from app import measures
from app.broker.checksum import is_posted_by_broker
from app.db import Database
from app.observability import logger
from app.order_updates import looks_store
from app.rounds import safely

H = TypeVar("H")

_log = logger("hints")

_EVERY = 0.2  # seconds
_MOST = 10_000  # hints of one kind that wait; more at once come from nobody who knows an address


class Hints:
    """The hints of one process that nobody has followed yet."""

    def __init__(self, db: Database, api_secret: SecretStr, handed_on: Callable[[], None]) -> None:
        """Take whom to tell that hints have just been handed on."""
        self._db = db
        self._handed_on = handed_on
        self._api_secret = api_secret
        self._posted: set[bytes] = set()
        self._acted: set[str] = set()
        self._returned: set[str] = set()
        self._has_any = asyncio.Event()

    def post(self, token: str, body: bytes) -> None:
        """Take what came to the address with this token; what carries the broker's checksum must carry a right one."""
        if _is_forged(body, self._api_secret):
            measures.webhook_posted("forged")
            return
        measures.webhook_posted("taken")
        self._add(self._posted, token_hash(token))

    def acted(self, user_id: str) -> None:
        """Take that something was done in a user's name."""
        self._add(self._acted, user_id)

    def returned(self, user_id: str) -> None:
        """Take that a user has a broker session again."""
        self._add(self._returned, user_id)

    async def run(self) -> Never:
        """Hand hints on to the database, for ever."""
        while True:
            await self._has_any.wait()
            self._has_any.clear()
            posted, acted, returned = self._posted, self._acted, self._returned
            self._posted, self._acted, self._returned = set(), set(), set()
            await safely(_log, self._hand_on(posted, acted, returned), "hints_lost")  # then the poll finds it
            self._handed_on()
            await asyncio.sleep(_EVERY)

    async def _hand_on(self, posted: set[bytes], acted: set[str], returned: set[str]) -> None:
        async with self._db.transaction() as tx:
            if posted:
                await looks_store.hint(tx, posted)
            if acted:
                await looks_store.nudge(tx, acted, also_unheard=False)
            if returned:
                await looks_store.nudge(tx, returned, also_unheard=True)

    def _add(self, waiting: set[H], hint: H) -> None:
        if len(waiting) < _MOST:
            waiting.add(hint)
            self._has_any.set()


def token_hash(token: str) -> bytes:
    """Return what the database knows an address by."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _is_forged(body: bytes, api_secret: SecretStr) -> bool:
    """Say whether a body claims to be signed and is not; what can't be read claims nothing."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return False
    fields = {name.lower(): value for name, value in content.items()} if isinstance(content, dict) else {}
    return "checksum" in fields and not is_posted_by_broker(fields, api_secret)
