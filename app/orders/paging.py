"""Cursors of lists that go on: opaque to a caller, and refused when they are none of ours."""

import base64
import re
from datetime import date, datetime, time, timedelta
from uuid import UUID

from app.clock import IST

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_YEARS = range(2000, 2200)  # before it there was no service; beyond it calendars and databases end


class BadCursor(Exception):
    """The cursor is none that we gave."""


class BadMoment(Exception):
    """Nobody can have placed anything then."""


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
    if moment.tzinfo is None or moment.year not in _YEARS:
        raise BadCursor
    return moment, found


def read_moment(given: object) -> object:
    """Return the day or the moment that a text names; raises `ValueError` for anything else."""
    if not isinstance(given, str):
        return given
    if _DAY.fullmatch(given):
        return date.fromisoformat(given)
    moment = datetime.fromisoformat(given)
    if moment.tzinfo is None:
        raise ValueError("must be a day, or a moment with its offset")
    return moment


def beginning_of(given: date | None) -> datetime | None:
    """Return the moment from which a list is asked for: a moment itself, or the beginning of an Indian day.

    Raises `BadMoment`, as `end_of` does.
    """
    return _moment(given, timedelta(0))


def end_of(given: date | None) -> datetime | None:
    """Return the moment before which a list is asked for: a moment itself, or the end of an Indian day."""
    return _moment(given, timedelta(days=1))


def _moment(given: date | None, into_the_day: timedelta) -> datetime | None:
    if given is None:
        return None
    if given.year not in _YEARS:
        raise BadMoment
    return given if isinstance(given, datetime) else datetime.combine(given, time(), IST) + into_the_day
