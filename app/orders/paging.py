"""Cursors of lists that go on: opaque to a caller, and refused when they are none of ours."""

import base64
from datetime import date, datetime, time, timedelta
from uuid import UUID

from app.clock import IST


class BadCursor(Exception):
    """The cursor is none that we gave."""


def cursor_after(moment: datetime, row_id: UUID) -> str:
    """Return where a list goes on behind this row."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row behind which to go on; raises `BadCursor`."""
    try:
        at, _, row_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        moment, found = datetime.fromisoformat(at), UUID(row_id)
    except ValueError as error:
        raise BadCursor from error
    if moment.tzinfo is None:
        raise BadCursor
    return moment, found


def beginning_of(given: date | None) -> datetime | None:
    """Return the moment from which a list is asked for: a moment itself, or the beginning of an Indian day."""
    if given is None or isinstance(given, datetime):
        return given
    return datetime.combine(given, time(), IST)


def end_of(given: date | None) -> datetime | None:
    """Return the moment before which a list is asked for: a moment itself, or the end of an Indian day."""
    if given is None or isinstance(given, datetime):
        return given
    return datetime.combine(given, time(), IST) + timedelta(days=1)
