"""The way to the broker: name, connection, certificate, and whether each read lives where we look for it.

Only GETs without a token go out, each counted against the app's limits: what is refused for want of one shows that the
call exists, unless a path beside it that can't exist is refused alike. Nothing is asked of any call that could do
something.
"""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from app.broker.answers import read_rows
from app.broker.errors import BrokerRefused, BrokerSessionDead, WrongPath
from app.broker.paths import Call, Paths
from app.broker.permits import Meter
from app.broker.transport import Answer, Transport
from app.clock import Clock
from app.examining.findings import Finding, failed, not_looked_at, ok, warning
from app.examining.names import Unresolved, address_of
from app.limits import Category, Demand
from app.problems import (
    BrokerFault,
    BrokerRateLimited,
    BrokerTimeout,
    BrokerUnavailable,
    Problem,
    RateLimited,
    TemporarilyUnavailable,
)
from app.settings import Settings

READS = tuple(call for call in Call if call.method == "GET")
CHECKS = ("broker", "broker's clock", *(f"route {call.setting_name}" for call in READS))
LOGIN_CHECK = "login page"

_DEADLINE = timedelta(seconds=4)
_DEMAND = Demand(Category.NON_TRADING)
_DRIFT = (
    2.0  # seconds: what the broker says of its time is rounded down to a second, and was on its way for some of one
)
_IMPOSSIBLE = "there-is-no-such-call"
_BROKEN, _MISSING = 500, frozenset({404, 405, 410})


async def examine_broker(settings: Settings, meter: Meter, clock: Clock) -> list[Finding]:
    """Return a line for each of `CHECKS`."""
    transport = Transport.open(settings.broker_base_url, settings.broker_connect_timeout, meter)
    try:
        before = clock.now()
        answer = await _reached(transport, settings.broker_base_url)
        took = clock.now() - before
        paths = Paths(settings.broker_exchange_paths, settings.broker_paths)
        routes = await asyncio.gather(*(_route(transport, paths, call) for call in READS))
    except (Problem, Unresolved) as error:
        why = f"{_why(error)} Check BROKER_BASE_URL and the way out of this network."
        return [failed("broker", why), *not_looked_at(CHECKS[1:], "the broker can't be reached.")]
    finally:
        await transport.aclose()
    how = "over TLS, with a certificate to be trusted" if settings.broker_base_url.startswith("https") else "in clear"
    told = f"{urlsplit(settings.broker_base_url).hostname} answers {how}, within {took.total_seconds() * 1000:.0f} ms"
    first = ok("broker", f"{told}.")
    if answer.status >= _BROKEN:
        first = warning("broker", f"{told}, but with {answer.status}: it is out of order.")
    return [first, _clock(answer, before, took), *routes]


async def examine_login_page(settings: Settings, meter: Meter) -> list[Finding]:
    """Return one line; the page is for browsers, so that one which only they can reach is no failure."""
    parts = urlsplit(settings.login_url)
    base = f"{parts.scheme}://{parts.netloc}/"
    transport = Transport.open(base, settings.broker_connect_timeout, meter)
    page = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    try:
        answer = await _reached(transport, base, page)
    except (Problem, Unresolved) as error:
        told = f"{_why(error)} Only browsers have to reach it; if they do not either, check BROKER_LOGIN_URL."
        return [warning(LOGIN_CHECK, told)]
    finally:
        await transport.aclose()
    if answer.status in _MISSING or answer.status >= _BROKEN:
        return [warning(LOGIN_CHECK, f"It answers {answer.status}: check BROKER_LOGIN_URL and BROKER_APP_CODE.")]
    return [ok(LOGIN_CHECK, f"It answers {answer.status}.")]


async def _reached(transport: Transport, url: str, path: str = "") -> Answer:
    """Return what one GET is answered; raises `Unresolved` and what the transport does."""
    parts = urlsplit(url)
    await address_of(parts.hostname or "", parts.port or 0)
    return await transport.send("GET", path, demand=_DEMAND, deadline=_DEADLINE)


async def _route(transport: Transport, paths: Paths, call: Call) -> Finding:
    """Say whether a read is where we look for it, at the path that is asked first or at another one that is known."""
    check, seen = f"route {call.setting_name}", list[str]()
    for path in paths.of(call):
        word = await _word(transport, path)
        if word.is_unasked:
            return warning(check, f"It can't be told whether it is at {path}. {word.why_not}.")
        if word.why_not is None:
            beside = await _word(transport, f"{path.rstrip('/').rpartition('/')[0]}/{_IMPOSSIBLE}".lstrip("/"))
            if beside.is_unasked or beside.said == word.said:
                why = beside.why_not or f"A path beside it that can't exist is answered alike ({word.said})"
                return warning(check, f"It can't be told whether it is at {path}. {why}.")
            others = f", not at {' or '.join(seen)}" if seen else ""
            return ok(check, f"It is there at {path}{others}.")
        seen.append(f"{path} ({word.why_not})")
    return warning(
        check, f"It does not seem to be at {' or '.join(seen)}: name its path in BROKER_PATHS as {call.setting_name}."
    )


@dataclass(frozen=True)
class _Word:
    """What is said at a path: the status, why no call seems to be there (none where one does), and if it was asked."""

    said: str
    why_not: str | None = None
    is_unasked: bool = False


async def _word(transport: Transport, path: str) -> _Word:
    said = "-"
    try:
        answer = await transport.send("GET", path, demand=_DEMAND, deadline=_DEADLINE)
        said = str(answer.status)
        read_rows(answer)
    except (BrokerSessionDead, BrokerRefused):
        return _Word(said)  # without a token that is what a call which exists says
    except WrongPath:
        return _Word(said, "404 or 405")
    except (BrokerRateLimited, RateLimited, TemporarilyUnavailable) as problem:
        return _Word(said, _why(problem).rstrip("."), is_unasked=True)
    except (BrokerFault, BrokerTimeout, BrokerUnavailable) as problem:
        return _Word(said, _why(problem).rstrip("."))
    return _Word(said)


def _clock(answer: Answer, before: datetime, took: timedelta) -> Finding:
    """Compare this machine's clock with what the broker says of its time."""
    try:
        theirs = parsedate_to_datetime(answer.date or "")
        drift = max(abs((theirs - (before + took / 2)).total_seconds()) - took.total_seconds() / 2, 0.0)
    except (TypeError, ValueError):  # none, unreadable, or without a zone
        return ok(CHECKS[1], "The broker does not tell its time.")
    if drift > _DRIFT:
        return warning(CHECKS[1], f"It is {drift:.0f} s from ours, more than 2 s: if ours is wrong, set it by NTP.")
    return ok(CHECKS[1], "It is within 2 s of ours, as far as whole seconds tell.")


def _why(error: Exception) -> str:
    """Return in one sentence why there was no answer."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"Its certificate is not to be trusted: {cause.verify_message}."
    if isinstance(cause, OSError) and cause.strerror and not isinstance(error, BrokerTimeout):
        return f"It can't be connected to: {cause.strerror}."
    for kind, told in _TOLD.items():
        if isinstance(error, kind):
            return told
    return str(error) or "It answers with something that can't be read."


_TOLD = {
    BrokerTimeout: "It did not answer in time.",
    BrokerUnavailable: "It can't be connected to, or is out of order.",
    BrokerRateLimited: "It was not asked, for the broker says that too many calls come.",
    RateLimited: "It was not asked, for the app's limits are used up.",
    TemporarilyUnavailable: "It was not asked, for the app's limits can't be counted.",
}
