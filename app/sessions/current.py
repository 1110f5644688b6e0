"""Who is calling: the session behind the cookie, or the reason why there is none."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Header, Request, Response
from starlette.datastructures import MutableHeaders

from app.dependencies import Cookies, process_state
from app.heads import said
from app.problems import NotSignedIn
from app.safeguards.quotas import telling
from app.safeguards.sealing import KeyRing
from app.sessions import store
from app.sessions.asking import Caller, Means, Question, Reading
from app.sessions.hooks import Hooks
from app.sessions.lifetimes import refuse_dead, touch_interval
from app.sessions.sharing import SharedReads
from app.sessions.store import Session
from app.sessions.tokens import token_hash, token_of_cookie
from app.settings import Settings

T = TypeVar("T")

_YES = {"true", "1"}
_READS = frozenset({"GET", "HEAD"})
"""What may be let in from memory; whoever does something is looked up anew."""
Background = Annotated[
    str | None,
    Header(
        description="`true` for what a timer asks and not a person: it keeps no idle session alive", examples=["true"]
    ),
]


async def signed_in(request: Request, x_background: Background = None) -> Caller:
    """Return who is calling; at most one look at the database.

    Raises `NotSignedIn`, `SessionExpired` and `UserBlocked`.
    """
    is_background = (x_background or "").strip().lower() in _YES
    return await _let_in(request, is_activity=not is_background)


async def heeding_no_activity(request: Request) -> Caller:
    """Return who is calling to listen, which keeps nobody signed in, as it stands now; raises what `signed_in` does."""
    return await (await _let_in(request, is_activity=False)).refreshed()


async def _let_in(request: Request, *, is_activity: bool) -> Caller:
    state, means = process_state(request), means_of(request)
    cookies = Cookies(state["settings"])
    token = token_of_cookie(cookies.of(request, cookies.session))
    if token is None:
        raise NotSignedIn
    door, is_read = Door(state["settings"], means), request.method in _READS
    session, is_remembered = await door.session_of(token_hash(token), is_activity=is_activity, may_remember=is_read)
    if told := telling.get():
        told.user_id = session.user_id
    return Caller(
        **vars(means), user_id=session.user_id, broker=session.broker, last_event=session.freshness.last_event,
        session=session, freshness=session.freshness, is_remembered=is_remembered,
    )  # fmt: skip


def key_ring(request: Request) -> KeyRing:
    """Return the ring that the process opened at its start."""
    return cast("KeyRing", request.state.ring)


def means_of(request: Request) -> Means:
    """Return what it takes to ask the broker, as the process opened it at its start."""
    return cast("Means", request.state.means)


async def hooks_of(request: Request) -> Hooks:
    """Return what signing in and logging out set off elsewhere."""
    return cast("Hooks", request.state.hooks)


SignedIn = Annotated[Caller, Depends(signed_in)]
HooksOf = Annotated[Hooks, Depends(hooks_of)]
Listening = Annotated[Caller, Depends(heeding_no_activity)]


class SharedAnswers:
    """The reads of one request, which may be answered as they were a moment ago; the answer says how long ago."""

    def __init__(
        self, reads: SharedReads, caller: Caller, fields: MutableHeaders | dict[str, str], *, is_fresh_wanted: bool
    ) -> None:
        """Take the header fields of the answer, one of which tells its age."""
        self._reads = reads
        self._caller = caller
        self._fields = fields
        self._is_fresh_wanted = is_fresh_wanted
        self._age = 0
        self._readings: list[Reading[Any]] = []

    @property
    def only_reading(self) -> Reading[Any] | None:
        """The one answer that was read, none where there were more or none."""
        return self._readings[0] if len(self._readings) == 1 else None

    async def read(self, name: str, ask: Question[T], *, about: str | None = None) -> Reading[T]:
        """Return what is asked for, and tell its age in seconds (RFC 9111, 5.1), or that of an older one before it.

        What is asked for afresh needs the look too: a sight of the book counts only under the number of the last event
        before the broker was asked.
        """
        self._caller = await self._caller.refreshed()
        reading = await self._reads.read(
            self._caller, name, partial(ask, self._caller), about=about, is_fresh_wanted=self._is_fresh_wanted
        )
        self._readings.append(reading)
        age = int((self._caller.clock.now() - reading.as_of).total_seconds())
        self._age = max(age, self._age)
        self._fields["Age"] = str(self._age)
        return reading


async def shared_answers(
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
    return SharedAnswers(shared_reads(request), caller, response.headers, is_fresh_wanted=wants_fresh(request))


def shared_reads(request: Request) -> SharedReads:
    """Return the answers that this process keeps for a moment."""
    return cast("SharedReads", request.state.reads)


def wants_fresh(request: Request) -> bool:
    """Say whether somebody asks for a fresh answer; `fetch` with `cache: "no-store"` only seems to.

    Browsers then add `Cache-Control: no-cache` to every request, and `Pragma` with it (Fetch, "HTTP-network-or-
    cache fetch"), so that a poll written in good faith would spend a call each time.
    """
    if said(request.scope, b"pragma") is not None:
        return False
    wanted = said(request.scope, b"cache-control")
    return wanted is not None and "no-cache" in {part.strip() for part in wanted.lower().split(",")}


Shared = Annotated[SharedAnswers, Depends(shared_answers)]


class Door:
    """Lets those in who have a live session."""

    def __init__(self, settings: Settings, means: Means) -> None:
        self._settings = settings
        self._means = means

    async def session_of(self, hashed: bytes, *, is_activity: bool, may_remember: bool) -> tuple[Session, bool]:
        """Return the session, and whether it was remembered from a request of a moment ago."""
        known = self._means.remembered.recall(hashed) if may_remember else None
        if known is not None and not (is_activity and self._is_to_touch(known)):
            refuse_dead(known, self._means.clock.now(), self._settings)
            return known, True
        return await self._looked_up(hashed, is_activity=is_activity), False

    async def _looked_up(self, hashed: bytes, *, is_activity: bool) -> Session:
        look = self._means.remembered.begin_look()
        session = await self._means.looks.find(hashed)
        if session is None:
            raise NotSignedIn
        refuse_dead(session, self._means.clock.now(), self._settings)
        if is_activity and self._is_to_touch(session):
            session = replace(session, last_seen_at=self._means.clock.now())
            async with self._means.db.reading() as tx:
                await store.touch(tx, session.id, session.last_seen_at)
        self._means.remembered.keep(hashed, session, look)
        return session

    def _is_to_touch(self, session: Session) -> bool:
        idle_for = self._means.clock.now() - session.last_seen_at
        return idle_for >= touch_interval(self._settings.session_idle_timeout)
