"""Which events somebody asks for, as a list or as the beginning of a stream."""

import re
from datetime import date

from app.order_updates import store
from app.order_updates.schemas import OrderEventList
from app.order_updates.store import Page
from app.paging import bad_cursor, moments_between
from app.problems import InvalidRequest
from app.sessions.asking import Caller

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


def read_after(last_event_id: str | None, since: int | None) -> int | None:
    """Return the id behind which a stream goes on, none where it begins now; raises `InvalidRequest`.

    What the browser remembers by itself goes before what the address said when it was first opened.
    """
    if not last_event_id:
        return since
    if not _ID.fullmatch(last_event_id):
        raise InvalidRequest(errors=[{"pointer": "/header/Last-Event-ID", "detail": "is none of ours"}])
    return int(last_event_id)


async def list_page(
    caller: Caller, since: int | None, days: tuple[date | None, date | None], limit: int, cursor: str | None
) -> OrderEventList:
    """Return one page of the caller's events; raises `InvalidRequest` for days or a cursor that can't be."""
    first, last = moments_between(*days)
    page = Page(_read_cursor(cursor) if cursor else since or 0, first, last, limit + 1)
    async with caller.db.reading() as tx:
        newest = await store.last_event(tx, caller.user_id)
        found = await store.list_events(tx, caller.user_id, page)
    shown = found[:limit]
    return OrderEventList(
        order_events=shown,
        as_of=caller.clock.now(),
        next_cursor=str(shown[-1].id) if len(found) > limit else None,
        last_event_id=max([newest, *(each.id for each in shown)]),
    )


def _read_cursor(cursor: str) -> int:
    if not _ID.fullmatch(cursor):
        raise bad_cursor()
    return int(cursor)
