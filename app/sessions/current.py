"""Who is calling: the session behind the cookie, or the reason why there is none."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Header, Request

from app.clock import Clock
from app.db import Database
from app.dependencies import Cookies, process_state
from app.problems import NotSignedIn, SessionExpired
from app.safeguards.sealing import KeyRing
from app.sessions import store
from app.sessions.asking import Caller
from app.sessions.lifetimes import touch_interval
from app.sessions.store import Session
from app.sessions.tokens import token_hash, token_of_cookie
from app.settings import Settings

_YES = {"true", "1"}
Background = Annotated[
    str | None,
    Header(
        description="`true` for what a timer asks and not a person: it keeps no idle session alive", examples=["true"]
    ),
]


async def signed_in(request: Request, x_background: Background = None) -> Caller:
    """Return who is calling; one look at the database. Raises `NotSignedIn` or `SessionExpired`."""
    state = process_state(request)
    settings, clock, db = state["settings"], state["clock"], state["db"]
    cookies = Cookies(settings)
    token = token_of_cookie(cookies.of(request, cookies.session))
    if token is None:
        raise NotSignedIn
    is_background = (x_background or "").strip().lower() in _YES
    session = await _live_session(db, token_hash(token), clock, settings, is_activity=not is_background)
    return Caller(session.user_id, session.broker, clock, db, state["gateway"], key_ring(request), session)


def key_ring(request: Request) -> KeyRing:
    """Return the ring that the process opened at its start."""
    return cast("KeyRing", request.state.ring)


SignedIn = Annotated[Caller, Depends(signed_in)]


def idle_end(session: Session, settings: Settings) -> datetime:
    """Return when the session ends if nothing more is heard of it."""
    return min(session.last_seen_at + settings.session_idle_timeout, session.expires_at)


async def _live_session(db: Database, hashed: bytes, clock: Clock, settings: Settings, *, is_activity: bool) -> Session:
    now = clock.now()
    async with db.reading() as tx:
        session = await store.find(tx, hashed)
        if session is None or session.ended_reason:
            raise NotSignedIn
        if now >= idle_end(session, settings):
            raise SessionExpired
        if is_activity and now - session.last_seen_at >= touch_interval(settings.session_idle_timeout):
            await store.touch(tx, session.id, now)
            return replace(session, last_seen_at=now)
    return session
