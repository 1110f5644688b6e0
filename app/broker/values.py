"""Numbers, texts and times as the broker writes them; what can't be read is none, never zero."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from app import measures
from app.clock import IST
from app.observability import logger, redact_text

_log = logger(__name__)

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,24}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?")
_TOO_MUCH = Decimal(10) ** 15  # rupees or units; the whole market is worth less
_FIRST_YEAR = 1990  # NSE opened in 1992; earlier years are other programs' words for "none"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_SHORTEST_SECRET = 12  # characters; "Bearer" and a few more
_LONGEST_TEXT = 500  # characters; the longest text of the samples has 90
_MOST_FAMILIAR = 4096  # words, numbers and times each, of which a process knows what they come to; half a megabyte
_LONGEST_FAMILIAR = 100  # characters
_NO_NUMBER = frozenset({"nan", "null", "none", "na", "-", "--"})

_DIGITS_FIRST = re.compile(r"(\d{2}):(\d{2}):(\d{2}) (\d{2})-(\d{2})-(\d{4})", re.ASCII)  # HH:mm:ss dd-MM-yyyy
_DATE_FIRST = re.compile(
    r"(\d{2})-(\d{2}|[A-Za-z]{3})-(\d{4}) (\d{2}):(\d{2}):(\d{2})", re.ASCII
)  # dd-MM-yyyy, dd-MMM-yyyy
_YEAR_FIRST = re.compile(r"(\d{4})-(\d{2})-(\d{2})[ T](\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?", re.ASCII)
_MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}

_drift_told: set[tuple[str, str]] = set()
_DRIFT_LIMIT = 200  # different facts a process tells; a broker gone mad must not fill the log


def drift(kind: str, words: str) -> None:
    """Tell once that the broker used a word or form that we do not know, and count it each time."""
    measures.drifted(kind)
    fact = kind, words[:80]
    if fact not in _drift_told and len(_drift_told) < _DRIFT_LIMIT:
        _drift_told.add(fact)
        _log.warning("broker_drift", kind=kind, words=fact[1])


class _Strange(Exception):
    """Neither what was expected nor a word for nothing; raised, so that nothing strange is remembered as known."""


def text(value: object) -> str | None:
    """Return a text without anything unprintable and cut to a bound; blank, null and anything else are none."""
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return str(value)[:_LONGEST_TEXT]
    if not isinstance(value, str):
        return None
    plain = _UNPRINTABLE.sub(" ", value).strip()
    return (redact_text(plain) if len(plain) > _SHORTEST_SECRET else plain)[:_LONGEST_TEXT] or None


def familiar(value: object) -> str | None:
    """Return the same of a text that comes again and again, as the words of a book do; not for what is personal."""
    return _familiar(value) if type(value) is str and len(value) <= _LONGEST_FAMILIAR else text(value)


_familiar = lru_cache(_MOST_FAMILIAR)(text)


def decimal(value: object) -> Decimal | None:
    """Return a number exactly as it was written, without exponent; `""`, `"NaN"` and the unreadable are none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        measures.drifted("type")
        return None
    plain = str(value).strip()  # what is remembered must not be longer than a number or a word for none
    try:
        return _number(plain)
    except _Strange:
        drift("number", plain)
        return None


@lru_cache(_MOST_FAMILIAR)
def _number(plain: str) -> Decimal | None:
    if not _NUMBER.fullmatch(plain):
        if plain and plain.lower() not in _NO_NUMBER:
            raise _Strange
        return None
    number = Decimal(plain)
    if abs(number) >= _TOO_MUCH:
        raise _Strange
    return abs(number) if number.is_zero() else number


def whole(value: object) -> int | None:
    """Return a quantity in units; what is not a whole number is none."""
    number = decimal(value)
    if number is None:
        return None
    found = int(number)
    return found if found == number else None


def moment(value: object) -> datetime | None:
    """Return a time, in UTC, of any of the forms in which the broker tells Indian time; the unreadable is none."""
    written = familiar(value)
    if written is None:
        return None
    try:
        return _moment(written)
    except _Strange:
        drift("time", re.sub(r"\d", "0", written))
        return None


@lru_cache(_MOST_FAMILIAR)
def _moment(written: str) -> datetime:
    try:
        found = _read_moment(written)
    except ValueError:
        found = None
    if found is None:
        raise _Strange
    return found.astimezone(UTC)


def _read_moment(written: str) -> datetime | None:
    if match := _DIGITS_FIRST.fullmatch(written):
        hour, minute, second, day, month, year = map(int, match.groups())
    elif match := _DATE_FIRST.fullmatch(written):
        named = match[2].lower()
        month = _MONTHS.get(named) or int(named)
        day, year, hour, minute, second = (int(match[part]) for part in (1, 3, 4, 5, 6))
    elif match := _YEAR_FIRST.fullmatch(written):
        year, month, day, hour, minute, second = map(int, match.groups())
    else:
        return None
    return datetime(year, month, day, hour, minute, second, tzinfo=IST) if year >= _FIRST_YEAR else None
