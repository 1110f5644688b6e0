"""When a session ends: ours by idleness and age, the broker's at its daily log-out or with its token."""

import base64
import binascii
import json
from datetime import UTC, datetime, time, timedelta

from pydantic import SecretStr

from app.clock import next_occurrence
from app.problems import NotSignedIn, SessionExpired, UserBlocked
from app.sessions.standings_store import Standing
from app.sessions.store import BLOCKED, Session
from app.settings import Settings

_LONGEST_BROKER_SESSION = timedelta(hours=24)  # docs/broker.md, "Life of a session"
_FAR_AWAY = 253_402_300_799  # 9999-12-31, the last moment that a datetime can hold


def broker_session_end(now: datetime, token: SecretStr, cutoffs: tuple[time, ...]) -> datetime:
    """Return when a token given now is dead at the latest: the next cut-off, 24 hours, or its own `exp`; in UTC."""
    ends = [now + _LONGEST_BROKER_SESSION, next_occurrence(now, cutoffs), _jwt_expiry(token.get_secret_value())]
    return min(end for end in ends if end is not None)


def idle_end(session: Session | Standing, settings: Settings) -> datetime:
    """Return when a session of ours ends if nothing more is heard of it."""
    return min(session.last_seen_at + settings.session_idle_timeout, session.expires_at)


def refuse_dead(session: Session | Standing, now: datetime, settings: Settings) -> None:
    """Raise `NotSignedIn`, `SessionExpired` or `UserBlocked` for a session that lets nobody in."""
    if session.ended_reason not in {None, BLOCKED}:
        raise NotSignedIn
    if session.is_user_blocked:
        raise UserBlocked
    if session.ended_reason:
        raise NotSignedIn
    if now >= idle_end(session, settings):
        raise SessionExpired


def touch_interval(idle_timeout: timedelta) -> timedelta:
    """Return how old `last_seen_at` may grow before it is written again: a write per request buys nothing."""
    return min(timedelta(minutes=1), idle_timeout / 20)


def _jwt_expiry(token: str) -> datetime | None:
    """Return `exp` of a JWT, unverified: it only ever shortens. None of what is no JWT or has none."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004  # header, claims, signature (RFC 7519, 3.1)
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    if not isinstance(expiry, int | float) or isinstance(expiry, bool) or not 0 < expiry <= _FAR_AWAY:
        return None
    return datetime.fromtimestamp(expiry, UTC)
