"""The session as the frontend sees it, and its end."""

from typing import Literal, cast
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AwareDatetime

from app.dependencies import Cookies, ProcessState, State
from app.problem_answers import SESSION, answers
from app.problems import CrossSiteRequest, NotFound, TemporarilyUnavailable
from app.sessions import devices_store, store
from app.sessions.asking import Caller
from app.sessions.current import HooksOf, SignedIn
from app.sessions.devices_store import Device
from app.sessions.ending import end_device, log_out, log_out_everywhere
from app.sessions.lifetimes import idle_end
from app.sessions.store import Life
from app.trading import Model

router = APIRouter(prefix="/v1", tags=["session"])

Reason = Literal["expired", "refused-by-broker"]


class SessionUser(Model):
    """Whom the broker confirmed; the name as the broker gave it, null where it did not."""

    id: str
    name: str | None


class BrokerConnection(Model):
    """Whether the broker still answers for him, and if not, why: `expired` or `refused-by-broker`."""

    connected: bool
    expires_at: AwareDatetime | None
    reason: Reason | None
    login_url: str


class SessionView(Model):
    """The caller's session here and at the broker; times in UTC."""

    user: SessionUser
    signed_in_at: AwareDatetime
    expires_at: AwareDatetime
    idle_expires_at: AwareDatetime
    broker: BrokerConnection


class SessionRow(Model):
    """One device; times in UTC, of the address only the network: an IPv4 /24 or an IPv6 /48."""

    id: UUID
    current: bool
    created_at: AwareDatetime
    last_seen_at: AwareDatetime
    user_agent: str | None
    address_prefix: str | None


class SessionsView(Model):
    """All devices of the caller's."""

    sessions: list[SessionRow]
    as_of: AwareDatetime


@router.get("/session", responses=answers(*SESSION, TemporarilyUnavailable))
async def read_session(*, investor: SignedIn, state: State) -> SessionView:
    """Who is signed in, until when, and whether the broker's session lives."""
    session, settings = investor.session, state["settings"]
    return SessionView(
        user=SessionUser(id=session.user_id, name=session.user_name),
        signed_in_at=session.created_at,
        expires_at=session.expires_at,
        idle_expires_at=idle_end(session, settings),
        broker=_connection(investor, settings.sign_in_url),
    )


@router.delete(
    "/session",
    status_code=204,
    responses=answers(*SESSION, CrossSiteRequest, TemporarilyUnavailable),
)
async def end_session(*, investor: SignedIn, state: State) -> Response:
    """Log out on this device; its cookie is worth nothing from now on."""
    await log_out(investor)
    return _gone(state)


@router.get("/sessions", responses=answers(*SESSION, TemporarilyUnavailable))
async def list_sessions(*, investor: SignedIn, state: State) -> SessionsView:
    """The devices on which the caller is signed in, the last used first; at most two hundred of them."""
    async with investor.db.reading() as tx:
        devices = await devices_store.live_devices(tx, _life(investor, state), investor.user_id)
    return SessionsView(sessions=[_row(each, investor) for each in devices], as_of=investor.clock.now())


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    responses=answers(*SESSION, CrossSiteRequest, NotFound, TemporarilyUnavailable),
)
async def end_one_session(*, investor: SignedIn, state: State, session_id: str) -> Response:
    """Log out one device, this one or another of the caller's."""
    ended = await end_device(investor, session_id, _life(investor, state))
    return _gone(state) if ended == investor.session.id else Response(status_code=204)


@router.delete(
    "/sessions",
    status_code=204,
    responses=answers(*SESSION, CrossSiteRequest, TemporarilyUnavailable),
)
async def end_all_sessions(*, investor: SignedIn, state: State, hooks: HooksOf) -> Response:
    """Log out everywhere; on every replica within a second."""
    await log_out_everywhere(investor, hooks)
    return _gone(state)


def _gone(state: ProcessState) -> Response:
    """Return an empty answer that has the browser drop both our cookies: no login begun before may end after this."""
    cookies, response = Cookies(state["settings"]), Response(status_code=204)
    cookies.expire(response, cookies.session)
    cookies.expire(response, cookies.login)
    return response


def _life(investor: Caller, state: ProcessState) -> Life:
    return Life(investor.clock.now(), state["settings"].session_idle_timeout)


def _row(device: Device, investor: Caller) -> SessionRow:
    return SessionRow(
        id=device.id,
        current=device.id == investor.session.id,
        created_at=device.created_at,
        last_seen_at=device.last_seen_at,
        user_agent=device.user_agent,
        address_prefix=device.address_prefix,
    )


def _connection(investor: Caller, login_url: str) -> BrokerConnection:
    broker = investor.session.broker
    reason = broker.reason_it_is_dead(investor.clock.now()) if broker else store.EXPIRED
    return BrokerConnection(
        connected=reason is None,
        expires_at=broker.expires_at if broker else None,
        reason=cast("Reason | None", reason),
        login_url=login_url,
    )
