"""The session as the frontend sees it, and its end."""

from typing import Literal, cast

from fastapi import APIRouter, Response
from pydantic import AwareDatetime

from app.dependencies import Cookies, State
from app.problem_answers import answers
from app.problems import CrossSiteRequest, NotSignedIn, SessionExpired, TemporarilyUnavailable
from app.safeguards.audit import Ledger
from app.sessions import store
from app.sessions.asking import Caller
from app.sessions.current import SignedIn, idle_end
from app.trading import Model

router = APIRouter(prefix="/v1", tags=["session"])

Reason = Literal["expired", "refused-by-broker"]

LOGGED_OUT = "logged-out"


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


@router.get("/session", responses=answers(NotSignedIn, SessionExpired, TemporarilyUnavailable))
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
    responses=answers(NotSignedIn, SessionExpired, CrossSiteRequest, TemporarilyUnavailable),
)
async def end_session(*, investor: SignedIn, state: State) -> Response:
    """Log out on this device; its cookie is worth nothing from now on."""
    cookies, user_id = Cookies(state["settings"]), investor.session.user_id
    facts = {"session": str(investor.session.id)}
    async with investor.db.transaction() as tx:
        await Ledger(investor.ring).write(tx, user_id, "signed-out", actor=user_id, facts=facts)
        await store.end(tx, investor.session.id, investor.clock.now(), LOGGED_OUT)
    response = Response(status_code=204)
    cookies.expire(response, cookies.session)
    return response


def _connection(investor: Caller, login_url: str) -> BrokerConnection:
    broker = investor.session.broker
    reason = broker.reason_it_is_dead(investor.clock.now()) if broker else store.EXPIRED
    return BrokerConnection(
        connected=reason is None,
        expires_at=broker.expires_at if broker else None,
        reason=cast("Reason | None", reason),
        login_url=login_url,
    )
