"""What goes over a stream of order updates: server-sent events, as `EventSource` reads them (WHATWG HTML, 9.2)."""

import json
from collections.abc import Mapping

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.orderbook.events import OrderEvent

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = KEEPALIVE_COMMENT
"""A comment, by which everybody between us sees that the connection lives."""
_RETRY = 2000  # milliseconds after which a browser comes back by itself


def update(event: OrderEvent) -> bytes:
    """Return one change of one order."""
    return format_sse_event(event="order-update", data_str=event.model_dump_json(), id=str(event.id))


def connected(user_id: str, told: int, last_event_id: int, ends_at: str) -> bytes:
    """Return what comes first: whose updates follow, and an id where a reconnect goes on, even if nothing else came."""
    return _told("connected", {"userId": user_id, "lastEventId": last_event_id, "endsAt": ends_at}, told, _RETRY)


def reset(last_event_id: int) -> bytes:
    """Return that the id asked for is none of ours, as after a restored backup: read anew, and go on from here."""
    return _told("reset", {"lastEventId": last_event_id}, last_event_id)


def placements_changed() -> bytes:
    """Return that something was sent in the user's name, or that what became of it is known."""
    return _told("placements-changed", {})


def end(reason: str) -> bytes:
    """Return why nothing more comes."""
    return _told("end", {"reason": reason})


def _told(event: str, facts: Mapping[str, object], number: int | None = None, retry: int | None = None) -> bytes:
    number_told = None if number is None else str(number)
    return format_sse_event(event=event, data_str=json.dumps(facts), id=number_told, retry=retry)
