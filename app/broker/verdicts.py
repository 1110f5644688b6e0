"""What the answer to an order call proves: done, not done, or that nobody knows. It never raises and never guesses.

Reads and acts are judged differently. A read that makes no sense is a fault and can be asked again; an act that makes
no sense may have been done (docs/broker.md, "Order calls").
"""

import re
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus

from app.broker.answers import Envelope, Row, content_of, envelope_of, lowered, plain_word, says_limited, says_only_dead
from app.broker.transport import Answer
from app.broker.values import text
from app.problems import BrokerFault, BrokerRateLimited, BrokerSessionExpired, BrokerUnavailable
from app.trading import Outcome

NOT_SENT = "not-sent"
"""No byte left: there was no connection in time."""

_ORDER_NO = re.compile(r"(?=[A-Za-z0-9-]*[1-9])[0-9A-Za-z][0-9A-Za-z-]{0,31}")  # "0", "-1", "null" are none
_SURELY_NEW = re.compile(r"(?:[^0-9]*[0-9]){8}")  # docs/broker.md, "Orders": it begins with the day
_NOT_DONE = frozenset({"notok", "error", "fail", "failed", "failure", "rejected", "ec"})
"""Status words that say no; an unknown word proves nothing."""
_REASONED = re.compile(r"\s*(RED|SAF|ORA|ALGO_CHK)\s*:")  # docs/broker.md, "Order calls": who refuses, and about what
_LONGEST_BARE_TEXT = 200  # bytes
_NO_REASON = "The broker gave no reason."
_MOST_SLICES = 1000  # orders that one can be cut into; the answer is bounded long before


@dataclass(frozen=True)
class Verdict:
    """What one answer proves of one order call.

    `reason` is the broker's own words or, where it has none, one of our slugs. `is_watched` says that a refusal rests
    on an assumption, so that the book is looked at all the same; `is_session_doubted` that the token may be good for
    other calls.
    """

    outcome: Outcome
    order_nos: tuple[str, ...] = ()
    reason: str | None = None
    is_session_dead: bool = False
    is_session_doubted: bool = False
    is_watched: bool = False
    is_alarming: bool = False


def refused(reason: str) -> Verdict:
    return Verdict(Outcome.REFUSED, reason=reason)


def unknown(reason: str, *, is_alarming: bool = False) -> Verdict:
    return Verdict(Outcome.UNKNOWN, reason=reason, is_watched=True, is_alarming=is_alarming)


SESSION_DEAD = Verdict(Outcome.REFUSED, reason=BrokerSessionExpired.slug, is_session_dead=True, is_watched=True)
SESSION_DOUBTED = replace(SESSION_DEAD, is_session_doubted=True)
LIMITED = Verdict(Outcome.REFUSED, reason=BrokerRateLimited.slug, is_watched=True)


_NOBODY_HOME = unknown(BrokerFault.slug, is_alarming=True)  # perhaps a proxy's word, with the order behind it
_PROXYS_WORD = unknown(BrokerUnavailable.slug)  # who says so knows nothing of the order
_STATUSES: dict[int, Verdict] = {
    HTTPStatus.UNAUTHORIZED: SESSION_DEAD,
    HTTPStatus.FORBIDDEN: SESSION_DOUBTED,
    HTTPStatus.TOO_MANY_REQUESTS: LIMITED,
    HTTPStatus.NOT_FOUND: _NOBODY_HOME,
    HTTPStatus.METHOD_NOT_ALLOWED: _NOBODY_HOME,
    HTTPStatus.REQUEST_TIMEOUT: _PROXYS_WORD,
    HTTPStatus.TOO_EARLY: _PROXYS_WORD,
}


class Proof(Enum):
    """What proves that an order call was taken: a number that did not exist before, an Ok with one, or an Ok."""

    NEW_NUMBER = "new number"
    OK_WITH_NUMBER = "ok with number"
    OK = "ok"


def verdict_of(answer: Answer, proof: Proof) -> Verdict:
    """Judge an answer by its status, then its type, then its words.

    Any new order number means that there is an order, whatever is said beside it. An Ok that lacks the number that was
    asked for proves nothing.
    """
    by_status = _by_status(answer)
    if by_status is not None:
        return by_status
    try:
        content = content_of(answer)
        outer = content if isinstance(content, list) else [content]
        if isinstance(content, str):
            return _of_bare_text(content)
        found = [envelope_of(item) for item in outer[:_MOST_SLICES]]
    except BrokerFault:
        return _of_bare_text(answer.body[: _LONGEST_BARE_TEXT + 1].decode("utf-8", "replace"))
    return _of_envelopes(found, answer.status, proof)


def _by_status(answer: Answer) -> Verdict | None:
    """Return what the status or the content type decides alone."""
    alone = _STATUSES.get(answer.status)
    if alone is not None:
        return alone
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return unknown(BrokerUnavailable.slug)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST or "html" in answer.content_type.lower():
        return unknown(BrokerFault.slug)
    return None


def _of_bare_text(words: str) -> Verdict:
    """Judge what is no JSON: a few bare words may say that the session is dead, anything else proves nothing."""
    is_short = len(words) <= _LONGEST_BARE_TEXT and "<" not in words
    return SESSION_DEAD if is_short and _says_only_dead(words) else unknown(BrokerFault.slug)


def _of_envelopes(found: list[Envelope], status: int, proof: Proof) -> Verdict:
    """Any order number means accepted; only if every part says no is it refused."""
    rows = _rows_of(found, proof)
    order_nos = tuple(dict.fromkeys(number for row in rows if (number := _order_no(row))))
    noes = [each for each in found if not each.is_ok]
    refusals = [_words_of(each) for each in noes] + [words for row in rows if (words := _refusal_in(row))]
    if order_nos:
        return Verdict(Outcome.ACCEPTED, order_nos, "; ".join(refusals) or None, is_watched=True)
    if any(_is_dead(each) for each in found):
        return SESSION_DEAD
    if noes and len(noes) == len(found):
        return _of_noes(noes, status)
    if rows and len(refusals) == len(rows) + len(noes) and not any(each.is_ok and not each.result for each in found):
        return refused("; ".join(refusals))
    if found and not noes and proof is Proof.OK:
        return Verdict(Outcome.ACCEPTED)
    return unknown(BrokerFault.slug)


def _rows_of(found: list[Envelope], proof: Proof) -> list[Row]:
    """Return the rows that may prove something: those of an Ok, and of a refusal those with what is surely a number."""
    rows = [lowered(row) for each in found if each.is_ok for row in each.result if isinstance(row, dict)]
    if proof is Proof.NEW_NUMBER:
        refused_rows = (
            lowered(row) for each in found if not each.is_ok for row in each.result if isinstance(row, dict)
        )
        rows += [row for row in refused_rows if _SURELY_NEW.match(_order_no(row) or "")]
    return rows


def _of_noes(noes: list[Envelope], status: int) -> Verdict:
    if any(says_limited(each.words) and not _REASONED.match(each.words) for each in noes):
        return LIMITED
    words = "; ".join(dict.fromkeys(_words_of(each) for each in noes))
    is_plain = all(plain_word(each.status).rstrip("0123456789") in _NOT_DONE for each in noes)
    if not is_plain and status < HTTPStatus.BAD_REQUEST:
        return unknown(BrokerFault.slug)
    is_reasoned = all(_REASONED.match(each.words) for each in noes)
    return replace(refused(words), is_watched=not is_reasoned)  # "Read timed out" is a refusal, and yet it may be there


def is_order_no(text: str) -> bool:
    """Say whether a text can be the number of an order: letters, digits and dashes, and not just a way to say none."""
    return _ORDER_NO.fullmatch(text) is not None


def _order_no(row: Row) -> str | None:
    number = text(row.get("orderno")) or text(row.get("brokerorderid"))
    return number if number and is_order_no(number) else None


def _refusal_in(row: Row) -> str | None:
    """Return the words of a row that has no order number but a reason; its slice was refused."""
    if _order_no(row):
        return None
    says_no = plain_word(text(row.get("status")) or text(row.get("stat")) or "") in _NOT_DONE
    reason = text(row.get("rejectedreason")) or text(row.get("message")) or text(row.get("emsg"))
    return (reason or _NO_REASON) if says_no or text(row.get("rejectedreason")) else None


def _words_of(envelope: Envelope) -> str:
    return envelope.words or text(envelope.outer.get("error")) or _NO_REASON


def _is_dead(envelope: Envelope) -> bool:
    spoken = (envelope.words, text(envelope.outer.get("code")) or "", envelope.status)
    return not envelope.result and any(_says_only_dead(words) for words in spoken)


def _says_only_dead(words: str) -> bool:
    return not _REASONED.match(words) and says_only_dead(words)
