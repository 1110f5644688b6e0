"""One classifier for every answer of the broker: what was asked for, nothing there, or which way it failed.

HTTP 200 does not mean success and 401 does not mean JSON (docs/broker.md, "Envelope"). A dead session is found
before anything else is believed, so that it can never pass for an empty list.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Never

from app.broker.errors import BrokerRefused, BrokerSessionDead, WrongPath
from app.broker.transport import Answer
from app.broker.values import text
from app.problems import BrokerFault, BrokerRateLimited, BrokerUnavailable

Row = dict[str, object]
"""One row of the broker's, its field names in lower case: they differ in case from page to page."""

_DEAD = re.compile(
    r"\bunauthori[sz]ed\b|\bEC087\b|\binvalid (user |access |session )?(session|token)\b"
    r"|\b(session|token) ?(has |is |been )*expired\b",
    re.IGNORECASE,
)
_ONLY_DEAD = re.compile(
    r"\W*([0-9]{3}\W+)?(EC087\b.*|unauthori[sz]ed|invalid (user |access |session )?(session|token)"
    r"|(your |user |broker )?(session|token) ?(has |is |been )*expired)\W*((please )?(re )?log ?in.*)?\W*",
    re.IGNORECASE | re.DOTALL,
)
_EMPTY = re.compile(
    r"no data( found| available)?|no records? (is |are )?found|(.*\b)?EC9(16|18|20|22|26|38)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_SUCCESS = re.compile(r"(ok|.*\bsuccess(ful|fully)?\b.*)?", re.IGNORECASE | re.DOTALL)
_ALREADY = re.compile(r"\balready\b|\bduplicate\b|\bexists\b", re.IGNORECASE)
_LIMITED = re.compile(r"\btoo many requests\b|\brate limit", re.IGNORECASE)
_CODE = re.compile(r"EC\d{3}", re.IGNORECASE)
_GOOD_WORDS = {"ok", "success"}
_SPOKEN = frozenset({"status", "stat", "message", "emsg", "code", "errorcode", "error_code", "error"})
"""The fields in which the broker speaks of an answer, not of what was asked for."""
_OUT_OF_SERVICE = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_MOST_ROWS = 10_000  # an active day has hundreds of orders; more would hold up everybody else
_LONGEST_BARE_TEXT = 200  # bytes; a dead session in plain text is one or two words
_LONGEST_WAIT = 86_400  # seconds; the broker's longest window
_NONSENSE = "The broker answered with something that can't be read."


@dataclass(frozen=True)
class Envelope:
    """The broker's wrapping, of whichever year: did it say Ok, in which words, around what."""

    is_ok: bool
    status: str
    words: str
    result: list[object]
    outer: Row
    """What stands beside the words; the exchange of an auth code answers here."""

    @property
    def says_nothing_there(self) -> bool:
        return not self.result and _EMPTY.fullmatch(self.words.strip(" .!")) is not None

    @property
    def is_plainly_ok(self) -> bool:
        """Say whether an Ok may be believed without rows: it says, and under other names holds, nothing else."""
        others = (value for name, value in self.outer.items() if name != "result")
        has_content = any(value for value in others if isinstance(value, dict | list))
        return self.is_ok and _SUCCESS.fullmatch(self.words) is not None and not has_content


def read_rows(answer: Answer) -> list[Row]:
    """Return the rows of a read; an empty list only where the broker said Ok or that there is nothing.

    Raises `BrokerSessionDead`, `BrokerRefused`, `WrongPath`, and the problems `BrokerRateLimited`,
    `BrokerUnavailable` and `BrokerFault`.
    """
    rows: list[Row] = []
    for envelope in envelopes(answer):
        if envelope.says_nothing_there:
            continue
        if not envelope.is_ok:
            _refuse(envelope)
        if not envelope.result and not envelope.is_plainly_ok:
            raise BrokerFault("The broker said Ok, and nothing of what was asked for.")
        if len(rows) + len(envelope.result) > _MOST_ROWS:
            raise BrokerFault("The broker's answer was longer than any answer should be.")
        rows.extend(_row(each) for each in envelope.result)
    return rows


def no_rows(answer: Answer) -> list[Row]:
    """Return nothing, where nothing was asked for but that something be so: an Ok says it, and that it was so already.

    Raises as `read_rows` does.
    """
    for envelope in envelopes(answer):
        if not envelope.is_ok and not _ALREADY.search(envelope.words):
            _refuse(envelope)
    return []


def envelopes(answer: Answer) -> list[Envelope]:
    """Return the envelopes of an answer, at least one; raises as `read_rows` does, save `BrokerRefused` of a 2xx."""
    _judge_status(answer)
    content = _json_of(answer)
    outer = content if isinstance(content, list) else [content]
    found = [_envelope(item) for item in outer]
    if any(not envelope.is_ok and says_limited(envelope.words) for envelope in found):
        raise BrokerRateLimited
    if not found or len(found) > _MOST_ROWS:
        raise BrokerFault(_NONSENSE)
    _judge_failure(answer, found)
    return found


def lowered(row: object) -> Row:
    """Return a row under lower-case names; where two differ in case only, the one that says something stays."""
    if not isinstance(row, dict):
        raise BrokerFault(_NONSENSE)
    names = _lowered_names(tuple(row))
    if names is not None:
        return dict(zip(names, row.values(), strict=True))
    found: Row = {}
    for name, value in row.items():
        key = name.lower()
        if key not in found or found[key] in (None, ""):
            found[key] = value
    return found


@lru_cache(128)
def _lowered_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return names in small letters, none where two of them become one; the rows of a book all have the same names."""
    found = tuple(name.lower() for name in names)
    return found if len(set(found)) == len(found) else None


def _row(each: object) -> Row:
    """Return one row, unless it is an answer in a row's place: then raise what it says."""
    row = lowered(each)
    stat = text(row.get("stat"))
    if row.keys() <= _SPOKEN or (stat is not None and not _is_good(stat)):
        _judge_words(row)
        raise BrokerFault(_NONSENSE)
    return row


def _judge_status(answer: Answer) -> None:
    """Raise what the HTTP status alone decides, before anything of the body is parsed."""
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise BrokerSessionDead(is_doubtful=answer.status == HTTPStatus.FORBIDDEN)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise BrokerRateLimited
    if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        raise WrongPath
    if answer.status in _OUT_OF_SERVICE:
        raise BrokerUnavailable("The broker says that it is out of service.")
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        raise BrokerFault(_NONSENSE)
    if "html" in answer.content_type.lower():
        _judge_text(answer.body)
        raise BrokerFault(_NONSENSE)


def content_of(answer: Answer) -> object:
    """Return the body as JSON, numbers exact, NaN and infinities as none; raises `BrokerFault` for anything else."""
    try:
        content: object = json.loads(answer.body, parse_float=_exact, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BrokerFault(_NONSENSE) from error
    return content


def _json_of(answer: Answer) -> object:
    try:
        content = content_of(answer)
    except BrokerFault:
        _judge_text(answer.body)
        raise
    if isinstance(content, str) and _says_dead(bare := content[:_LONGEST_BARE_TEXT]):
        raise BrokerSessionDead(is_doubtful=not says_only_dead(bare))
    return content


def _judge_text(body: bytes) -> None:
    """Raise for a few bare words that say the session is dead; a page of HTML is no such words."""
    words = body.decode("utf-8", "replace")
    if len(body) <= _LONGEST_BARE_TEXT and b"<" not in body and _says_dead(words):
        raise BrokerSessionDead(is_doubtful=not says_only_dead(words))


def _envelope(item: object) -> Envelope:
    if isinstance(item, dict):
        _judge_words(lowered(item))
    return envelope_of(item)


def envelope_of(item: object) -> Envelope:
    """Return what one wrapping says, unjudged; raises `BrokerFault` for what is none."""
    outer = lowered(item)
    status = _first_text(outer, "status", "stat")
    if status is None:
        raise BrokerFault(_NONSENSE)
    message = _first_text(outer, "message", "emsg") or ""
    return Envelope(
        is_ok=_is_good(status),
        status=status,
        words=f"{message} {status}".strip() if _CODE.fullmatch(status) else message,
        result=_as_list(outer.get("result")),
        outer=outer,
    )


def _as_list(result: object) -> list[object]:
    if isinstance(result, list):
        return result
    return [] if result is None or result == "" else [result]


def _judge_failure(answer: Answer, found: list[Envelope]) -> None:
    """Raise for a status of failure whose JSON did not say more."""
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise BrokerFault("The broker failed.")
    if answer.status >= HTTPStatus.BAD_REQUEST and not all(envelope.says_nothing_there for envelope in found):
        _refuse(found[0])


def _refuse(envelope: Envelope) -> Never:
    if envelope.words and not envelope.is_ok:
        raise BrokerRefused(envelope.words)
    raise BrokerFault(_NONSENSE)


def told_wait(answer: Answer) -> float | None:
    """Return the seconds of the broker's `Retry-After` in either form (RFC 9110, 10.2.3), none where there is none."""
    given = answer.retry_after or ""
    if re.fullmatch(r"[0-9]{1,9}", given):
        return float(min(int(given), _LONGEST_WAIT)) or None
    try:
        wait = parsedate_to_datetime(given) - parsedate_to_datetime(answer.date or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 1.0), _LONGEST_WAIT)


def _first_text(outer: Row, *names: str) -> str | None:
    return next((found for name in names if (found := text(outer.get(name)))), None)


def plain_word(word: str) -> str:
    """Return a status word without case, blanks and underscores."""
    return re.sub(r"[\s_]", "", word).lower()


def says_limited(words: str) -> bool:
    """Say whether words tell of the broker's limit."""
    return _LIMITED.search(words) is not None


def spaced(words: str) -> str:
    """Return words with a blank wherever their spelling hides one."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_-]+", " ", words)


def _is_good(word: str) -> bool:
    return plain_word(word) in _GOOD_WORDS


def says_only_dead(words: str) -> bool:
    """Say whether words are about the session and nothing else; a refusal may well speak of what is unauthorized."""
    return _ONLY_DEAD.fullmatch(spaced(words)) is not None


def _judge_words(fields: Row) -> None:
    """Raise where any of the broker's words say that the session is dead; doubtfully where none says only that."""
    found = [words for name in _SPOKEN if (words := text(fields.get(name))) and _says_dead(words)]
    if found:
        raise BrokerSessionDead(is_doubtful=not any(says_only_dead(words) for words in found))


def _says_dead(words: str) -> bool:
    return _DEAD.search(spaced(words)) is not None


def _exact(written: str) -> Decimal | None:
    try:
        return Decimal(written)
    except ArithmeticError:  # an exponent beyond any number
        return None


def _no_number(_name: str) -> Any:
    return None
