"""Order updates for the frontend, as a stream and as a list; and where the broker posts its hints."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.dependencies import State
from app.order_updates.listener import Place
from app.order_updates.listening import Listeners
from app.order_updates.listing import list_page, read_after
from app.order_updates.receiving import Hints
from app.order_updates.schemas import OrderEventList
from app.order_updates.streaming import EventStream
from app.order_updates.subscribing import PATH
from app.order_updates.wire import MEDIA_TYPE
from app.paging import Moment
from app.problem_answers import SESSION, answers
from app.problems import BrokerSessionExpired, CrossSiteRequest, InvalidRequest, TemporarilyUnavailable
from app.safeguards.cross_site import EVENT_STREAM
from app.safeguards.quotas import say_nothing
from app.sessions.current import Listening, SignedIn

router = APIRouter(tags=["order updates"])

_NEWEST = 2**63 - 1  # the largest number of an event
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; docs/order-updates.md describes each",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "description": "`text/event-stream`, WHATWG HTML"}}},
    }
}

Since = Annotated[
    int | None, Query(ge=0, le=_NEWEST, description="The id of the last event that is known; what is behind it follows")
]


@router.get(
    EVENT_STREAM,
    response_class=Response,
    responses=_STREAM
    | answers(*SESSION, BrokerSessionExpired, InvalidRequest, CrossSiteRequest, TemporarilyUnavailable),
)
async def stream_order_updates(
    *,
    request: Request,
    state: State,
    caller: Listening,
    since: Since = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="As `since`, and before it")] = None,
) -> Response:
    """Tell every change of the caller's orders as it is seen, and first what came after the id that he names."""
    after = read_after(last_event_id, since)
    if not caller.has_live_session:
        raise BrokerSessionExpired
    listeners = cast("Listeners", request.state.listeners)
    listeners.refuse_if_full(caller.user_id)
    say_nothing()  # of the limits: to look would cost as much as the stream
    place = Place(caller.user_id, caller.session.id, caller.last_event, caller.freshness.epoch)
    return EventStream(listeners, place, after, state["settings"].order_stream_heartbeat.total_seconds())


@router.get("/v1/order-events", responses=answers(*SESSION, InvalidRequest, TemporarilyUnavailable))
async def list_order_events(
    *,
    investor: SignedIn,
    since: Since = None,
    first: Annotated[Moment, Query(alias="from", description="An Indian day, inclusive, or a moment")] = None,
    last: Annotated[Moment, Query(alias="to", description="An Indian day, inclusive, or a moment")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`nextCursor` of the page before")] = None,
) -> OrderEventList:
    """List the changes of the caller's orders, oldest first; costs no call to the broker."""
    return await list_page(investor, since, (first, last), limit, cursor)


@router.post(f"{PATH}{{token}}", tags=["broker"], response_class=Response, responses={200: {"description": "Thanks"}})
async def take_webhook(
    *,
    request: Request,
    token: Annotated[str, Path(description="What the broker was given; nobody else knows it")],
) -> Response:
    """Take what the broker posts; every answer is the same, whatever came and whoever sent it."""
    cast("Hints", request.state.hints).post(token, await request.body())
    return Response()
