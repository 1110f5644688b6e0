"""Logins begun in this browser: up to three, in a cookie that only we can write, for ten minutes each.

The broker's SSO has no `state` (docs/broker.md "Sign-in"), so this cookie is what binds a callback to a browser.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.clock import random_bytes
from app.safeguards.sealing import CannotOpen, KeyRing

LIFETIME = timedelta(minutes=10)

_MOST = 3  # tabs
_ID_LENGTH = 16  # bytes
_LONGEST_COOKIE = 3800  # bytes; browsers keep 4096 with the name and attributes (RFC 6265, 6.1)
_PURPOSE = "login-attempts"


@dataclass(frozen=True)
class Attempt:
    """One login begun: its secret id, when, and where the browser goes afterwards."""

    id: bytes
    begun_at: datetime
    return_to: str
    may_switch: bool = False
    """Whether it may end with another client than the one who is signed in."""

    @property
    def hash(self) -> bytes:
        """What the database may know of it."""
        return hashlib.sha256(self.id).digest()

    def is_live(self, now: datetime) -> bool:
        return now - LIFETIME < self.begun_at <= now + timedelta(seconds=30)  # replicas' clocks differ a little


@dataclass(frozen=True)
class Attempts:
    """The live attempts of one browser, the newest first, and the key that had signed them."""

    newest_first: tuple[Attempt, ...]
    key_id: str


def read_attempts(ring: KeyRing, cookie: str, now: datetime) -> Attempts:
    """Return what a cookie of ours holds; nothing of one that is missing, stale or not ours."""
    nothing = Attempts((), ring.sealing_key_id)
    key_id, _, rest = cookie.partition(".")
    content, _, signature = rest.partition(".")
    try:
        expected = ring.sign(_PURPOSE, f"{key_id}.{content}".encode(), key_id=key_id)
        if not hmac.compare_digest(expected, _decoded(signature)):
            return nothing
        found = [_attempt(entry) for entry in json.loads(_decoded(content))]
    except (CannotOpen, binascii.Error, ValueError):
        return nothing
    live = [attempt for attempt in found if attempt.is_live(now)]
    return Attempts(tuple(sorted(live, key=lambda attempt: attempt.begun_at, reverse=True)), key_id)


def begin_attempt(ring: KeyRing, attempts: Attempts, return_to: str, now: datetime, *, may_switch: bool = False) -> str:
    """Return the cookie that holds a new attempt beside the newest of those there were."""
    fresh = Attempt(random_bytes(_ID_LENGTH), now, return_to, may_switch)
    kept = [fresh, *attempts.newest_first][:_MOST]
    while len(written := _written(ring, kept)) > _LONGEST_COOKIE and len(kept) > 1:
        kept.pop()
    return written


def _written(ring: KeyRing, attempts: list[Attempt]) -> str:
    entries = [
        [_encoded(each.id), each.begun_at.timestamp(), each.return_to, *([1] if each.may_switch else [])]
        for each in attempts
    ]
    signed = f"{ring.sealing_key_id}.{_encoded(json.dumps(entries).encode())}"
    return f"{signed}.{_encoded(ring.sign(_PURPOSE, signed.encode()))}"


def _attempt(entry: list[object]) -> Attempt:
    identity, begun_at, return_to, *rest = entry
    moment = datetime.fromtimestamp(float(str(begun_at)), UTC)
    return Attempt(_decoded(str(identity)), moment, str(return_to), may_switch=bool(rest))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii", "strict") + b"=" * (-len(text) % 4))
