"""Cursors of lists that go on: opaque to a caller, and refused when they are none of ours."""

import base64
import re
from datetime import date, datetime, time, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator

from app.clock import IST
from app.problems import InvalidRequest

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_YEARS = range(2000, 2200)  # before it there was no service; beyond it calendars and databases end


def cursor_after(moment: datetime, row_id: UUID) -> str:
    """Return where a list goes on behind this row."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row behind which to go on; raises `InvalidRequest`."""
    try:
        at, _, row_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        moment, found = datetime.fromisoformat(at), UUID(row_id)
    except ValueError as error:
        raise bad_cursor() from error
    if moment.tzinfo is None or moment.year not in _YEARS:
        raise bad_cursor()
    return moment, found


def _read_moment(given: object) -> object:
    """Return the day or the moment that a text names; raises `ValueError` for anything else."""
    if not isinstance(given, str):
        return given
    if _DAY.fullmatch(given):
        return date.fromisoformat(given)
    moment = datetime.fromisoformat(given)
    if moment.tzinfo is None:
        raise ValueError("must be a day, or a moment with its offset")
    return moment


Moment = Annotated[AwareDatetime | date | None, BeforeValidator(_read_moment)]
"""From or until when a list is asked for: a whole Indian day, or a moment with its offset."""


def bad_cursor() -> InvalidRequest:
    """Return what a cursor that we never gave is answered with."""
    return InvalidRequest(errors=[{"pointer": "/query/cursor", "detail": "is none of ours"}])


def moments_between(first: date | None, last: date | None) -> tuple[datetime | None, datetime | None]:
    """Return the moments from which, and before which, a list is asked for: moments themselves, or whole Indian days.

    Raises `InvalidRequest` for a year in which nobody can have done anything.
    """
    return _moment("from", first, timedelta(0)), _moment("to", last, timedelta(days=1))


def _moment(name: str, given: date | None, into_the_day: timedelta) -> datetime | None:
    if given is None:
        return None
    if given.year not in _YEARS:
        raise InvalidRequest(errors=[{"pointer": f"/query/{name}", "detail": "is no day of ours"}])
    return given if isinstance(given, datetime) else datetime.combine(given, time(), IST) + into_the_day
