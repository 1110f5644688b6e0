"""A code is spent before it is exchanged, once across all replicas; who comes again in time waits for the first."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import Clock, monotonic
from app.db import Database
from app.problems import AuthCodeUsed, LoginAttemptMissing
from app.sso import store
from app.sso.attempts import Attempt, Attempts
from app.sso.store import SpentCode

_REPEAT_WINDOW = timedelta(seconds=60)
_A_WHILE = timedelta(seconds=30)
_MANY = 2  # unfinished logins; one alone may be another tab's
_LOOK_EVERY = 0.1  # seconds
_RACES = 5  # a callback can lose against each other attempt of its cookie once, and then some


@dataclass(frozen=True)
class Claim:
    """An attempt taken for a code; `is_first` tells the one callback that must exchange it."""

    attempt: Attempt
    code_hash: bytes
    is_first: bool


async def claim(db: Database, clock: Clock, attempts: Attempts, auth_code: str) -> Claim:
    """Spend the code for the newest attempt not yet consumed, or find that this very pair was spent a moment ago.

    Raises `LoginAttemptMissing` and `AuthCodeUsed`.
    """
    if not attempts.newest_first:
        raise LoginAttemptMissing
    code_hash = hashlib.sha256(auth_code.encode()).digest()
    by_hash = {attempt.hash: attempt for attempt in attempts.newest_first}
    for _ in range(_RACES):
        now = clock.now()
        async with db.transaction() as tx:
            spent = await store.find_spent(tx, code_hash, list(by_hash))
            mine = next((each for each in spent if each.code_hash == code_hash), None)
            if mine is not None:
                return Claim(_repeated(mine, by_hash, clock), code_hash, is_first=False)
            consumed = {each.attempt_hash for each in spent}
            free = [attempt for attempt in attempts.newest_first if attempt.hash not in consumed]
            if not free:
                raise LoginAttemptMissing
            if await store.spend(tx, code_hash, free[0].hash, now):
                return Claim(free[0], code_hash, is_first=True)
    raise AuthCodeUsed


async def were_left_alone(db: Database, attempts: Attempts, now: datetime) -> bool:
    """Say whether the broker has sent nobody back from two logins begun here, each of them a while ago."""
    waiting = {each.hash for each in attempts.newest_first if now - each.begun_at > _A_WHILE}
    if len(waiting) < _MANY:
        return False
    async with db.reading() as tx:
        consumed = {each.attempt_hash for each in await store.find_spent(tx, b"", list(waiting))}
    return len(waiting - consumed) >= _MANY


async def outcome_of(db: Database, claimed: Claim, *, within: timedelta) -> SpentCode | None:
    """Wait until the first callback has finished; none if it did not in time."""
    give_up_at = monotonic() + within.total_seconds()
    while monotonic() < give_up_at:
        async with db.reading() as tx:
            spent = await store.find_spent(tx, claimed.code_hash, [])
        if not spent:  # it was not sent, and is free again
            return None
        if spent[0].outcome:
            return spent[0]
        await asyncio.sleep(_LOOK_EVERY)
    return None


def _repeated(spent: SpentCode, by_hash: dict[bytes, Attempt], clock: Clock) -> Attempt:
    attempt = by_hash.get(spent.attempt_hash)
    if attempt is None or clock.now() - spent.spent_at > _REPEAT_WINDOW:
        raise AuthCodeUsed
    return attempt
