"""Who is calling: the session behind the cookie, or the reason why there is none."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Header, Request, Response

from app.clock import Clock
from app.db import Database
from app.dependencies import Cookies, process_state
from app.problems import NotSignedIn, SessionExpired
from app.safeguards.quotas import telling
from app.safeguards.sealing import KeyRing
from app.sessions import store
from app.sessions.asking import Caller, Reading
from app.sessions.lifetimes import touch_interval
from app.sessions.sharing import Ask, SharedReads
from app.sessions.store import Session
from app.sessions.tokens import token_hash, token_of_cookie
from app.settings import Settings

T = TypeVar("T")

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
    if told := telling.get():
        told.user_id = session.user_id
    return Caller(session.user_id, session.broker, clock, db, state["gateway"], key_ring(request), session=session)


def key_ring(request: Request) -> KeyRing:
    """Return the ring that the process opened at its start."""
    return cast("KeyRing", request.state.ring)


SignedIn = Annotated[Caller, Depends(signed_in)]


class SharedAnswers:
    """The reads of one request, which may be answered as they were a moment ago; the answer says how long ago."""

    def __init__(self, reads: SharedReads, caller: Caller, response: Response, *, is_fresh_wanted: bool) -> None:
        self._reads = reads
        self._caller = caller
        self._response = response
        self._is_fresh_wanted = is_fresh_wanted
        self._age = 0

    async def read(self, name: str, ask: Ask[T], *, about: str | None = None) -> Reading[T]:
        """Return what is asked for, and tell its age in seconds (RFC 9111, 5.1), or that of an older one before it."""
        reading = await self._reads.read(self._caller, name, ask, about=about, is_fresh_wanted=self._is_fresh_wanted)
        age = int((self._caller.clock.now() - reading.as_of).total_seconds())
        self._age = max(age, self._age)
        self._response.headers["Age"] = str(self._age)
        return reading


def shared_answers(
    request: Request,
    response: Response,
    caller: SignedIn,
    _cache_control: Annotated[
        str | None,
        Header(
            alias="Cache-Control",
            description="`no-cache` asks the broker afresh, within the limits; else an answer may be some seconds old, "
            "as `Age` tells",
            examples=["no-cache"],
        ),
    ] = None,
) -> SharedAnswers:
    """Return the shared reads for this very request."""
    reads = cast("SharedReads", request.state.reads)
    return SharedAnswers(reads, caller, response, is_fresh_wanted=_is_fresh_wanted(request))


def _is_fresh_wanted(request: Request) -> bool:
    """Say whether somebody asks for a fresh answer; `fetch` with `cache: "no-store"` only seems to.

    Browsers then add `Cache-Control: no-cache` to every request, and `Pragma` with it (Fetch, "HTTP-network-or-
    cache fetch"), so that a poll written in good faith would spend a call each time.
    """
    if "pragma" in request.headers:
        return False
    wanted = ",".join(request.headers.getlist("cache-control")).lower()
    return "no-cache" in {part.strip() for part in wanted.split(",")}


Shared = Annotated[SharedAnswers, Depends(shared_answers)]


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
