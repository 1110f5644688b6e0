"""The broker's wire: a permit per request, a total deadline, a bounded body, no redirects, no cookies.

The connections are ours (`lines.py`, docs/decisions/0017). A GET is sent once more, with a permit of its own, when a
kept connection turns out to be dead before any answer came; a POST never. What does something at the broker goes
through `send_once`, over a connection of its own; at the last moment before its bytes go it is asked once more whether
they may.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from app import measures
from app.broker.errors import NotSent
from app.broker.line import Garbled, Gone, Line, Reply
from app.broker.lines import Lines
from app.broker.permits import Clearance, Meter
from app.clock import monotonic, random_bytes
from app.limits import Demand, Permit
from app.observability import REDACTED, Errand, current_errand, logger
from app.problems import BrokerFault, BrokerTimeout, BrokerUnavailable, Problem, TemporarilyUnavailable

_log = logger("broker")
_is_debugging = partial(logging.getLogger("broker").isEnabledFor, logging.DEBUG)

_BODY_LIMIT = 8 * 1024 * 1024  # bytes; an order book of a thousand rows is one megabyte
_SAYS_ALL = frozenset({401, 403, 404, 405, 429, 502, 503, 504})
"""Statuses that are judged alone (docs/broker.md, "Envelope"): their body is left unread, whole or broken."""

_PERMITS_TRIED = 3  # where a permit has grown old before a connection was there; then the store is too slow to rely on


@dataclass(frozen=True)
class Answer:
    """What came back over the wire, not yet understood."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    retry_after: str | None = None
    date: str | None = None


@dataclass
class _Sending:
    """One request on its way: its permit, whether any byte of it may have left, and until when the first one may."""

    meter: Meter
    demand: Demand
    permit: Permit | None
    write_by: float | None
    is_alone: bool
    route: str = "-"
    has_begun: bool = False

    async def begin(self, is_there: Callable[[], bool]) -> None:
        """Let the bytes go under a fresh permit; refuse those of an order call that is late or was let go before.

        `is_there` says whether the connection still stands, which may have ended while a permit was taken.
        """
        self._hold_back_if_late()
        await self._use_permit()
        self._hold_back_if_late()
        if not is_there():
            raise Gone(is_unsent=True)
        self.has_begun = True

    def _hold_back_if_late(self) -> None:
        if self.write_by is not None and (self.has_begun or monotonic() > self.write_by):
            raise _HeldBack

    async def _use_permit(self) -> None:
        """Use the permit up; one that is used or has grown old is taken anew, for then it would count too early.

        It was counted all the same, which is on the safe side.
        """
        permit, self.permit = self.permit, None
        for _ in range(_PERMITS_TRIED):
            if permit is not None and monotonic() - permit.asked_at <= self.meter.permit_life:
                return
            permit = await self.meter.take(self.demand)
        raise TemporarilyUnavailable("The limits are counted too slowly.")


class _HeldBack(Exception):
    """The bytes were not let go."""


class Transport:
    """The connections of one process to the broker."""

    def __init__(self, head: "_Head", reading: Lines, acting: Lines, meter: Meter) -> None:
        self._head = head
        self._reading = reading
        self._acting = acting
        self._meter = meter

    @classmethod
    def open(cls, base_url: str, connect_timeout: timedelta, meter: Meter) -> Self:
        """Return a transport whose paths are below `base_url`; nothing is connected yet."""
        # An order call has a connection of its own: on a kept one a late answer to somebody else might already lie, and
        # whether it is still alive shows only after bytes have gone out. And it waits behind no read for one.
        open_line = partial(Line, _BODY_LIMIT, _SAYS_ALL)
        reading, acting = (Lines(base_url, connect_timeout.total_seconds(), open_line) for _ in range(2))
        return cls(_Head.of(base_url), reading, acting, meter)

    async def aclose(self) -> None:
        await self._reading.aclose()
        await self._acting.aclose()

    async def send(  # noqa: PLR0913  # all but two are said by name
        self,
        method: str,
        path: str,
        *,
        demand: Demand,
        deadline: timedelta | None = None,
        bearer: SecretStr | None = None,
        body: object = None,
        is_alone: bool = False,
        route: str = "-",
    ) -> Answer:
        """Send one request and return whatever was answered, of any status; without a body where the status says all.

        What can't be asked a second time goes alone, over a connection of its own: a kept one may have died meanwhile.
        Without a deadline the whole stands within one of the caller's.
        Raises what the meter does, with nothing sent; `BrokerTimeout` when the whole has not arrived within `deadline`,
        `BrokerUnavailable` when there is no connection or it broke, `BrokerFault` when what came is not HTTP or is
        larger than 8 MiB.
        """
        permit = await self._meter.take(demand)  # before a connection is made for a request that may not go
        sending = _Sending(self._meter, demand, permit, None, is_alone=is_alone, route=route)
        return await self._send(sending, method, path, deadline, bearer, body)

    async def send_once(
        self, method: str, path: str, *, clearance: Clearance, deadline: timedelta, body: object, route: str = "-"
    ) -> Answer:
        """Send one request that does something, its first byte before `write_by` or none at all.

        Raises `NotSent`, and what the meter does, where certainly no byte has left; else as `send` does: then nobody
        knows whether it was done.
        """
        permit = clearance.permit
        sending = _Sending(self._meter, permit.demand, permit, clearance.write_by, is_alone=True, route=route)
        try:
            return await self._send(sending, method, path, deadline, clearance.bearer.token, body)
        except _HeldBack as error:
            if sending.has_begun:
                raise BrokerUnavailable from error
            raise NotSent from error
        except (BrokerUnavailable, BrokerTimeout, BrokerFault) as error:
            if sending.has_begun:
                raise
            raise NotSent(is_brokers=isinstance(error, BrokerUnavailable)) from error

    async def _send(
        self,
        sending: _Sending,
        method: str,
        path: str,
        deadline: timedelta | None,
        bearer: SecretStr | None,
        body: object,
    ) -> Answer:
        errand = current_errand() or Errand(random_bytes(12).hex())
        request = self._head.request(method, path, bearer, body, errand.id, is_last=sending.is_alone)
        began_at, ended = monotonic(), "timeout"  # which is also said where whoever asked waits no more
        try:
            reply = await self._fetch(sending, request, deadline, is_repeatable=method == "GET")
            answer = _answer(reply, bearer)
            ended = measures.answer_of(answer.status)
        except TimeoutError as error:
            raise BrokerTimeout from error
        except Garbled as error:
            ended = "fault"
            raise BrokerFault(str(error)) from error
        except (Gone, OSError) as error:
            ended = "unavailable"
            raise BrokerUnavailable from error
        except (_HeldBack, Problem):
            ended = "not-sent"
            raise
        finally:
            seconds = monotonic() - began_at
            errand.broker_calls += 1
            errand.broker_seconds += seconds
            measures.broker_answered(sending.route, ended, seconds)
        if _is_debugging():  # a line that nobody reads would cost as much as the parsing of the answer
            _log.debug(
                "broker_answered", method=method, path=path, status=answer.status,
                milliseconds=round(seconds * 1000, 1), request_id=errand.id,
            )  # fmt: skip
        return answer

    async def _fetch(
        self, sending: _Sending, request: bytes, deadline: timedelta | None, *, is_repeatable: bool
    ) -> Reply:
        if deadline is not None:
            async with asyncio.timeout(deadline.total_seconds()):
                return await self._fetch(sending, request, None, is_repeatable=is_repeatable)
        if sending.is_alone:
            return await self._acting.fetch_alone(request, sending.begin)
        return await self._reading.fetch(request, sending.begin, is_repeatable=is_repeatable)


@dataclass(frozen=True)
class _Head:
    """What is the same in all requests to one origin."""

    prefix: str
    fields: str

    @classmethod
    def of(cls, base_url: str) -> Self:
        parts = urlsplit(base_url)
        host = parts.netloc.rpartition("@")[2]
        fields = {
            "Host": host,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "gopocket-partner",
        }
        return cls(f"{parts.path.rstrip('/')}/", "".join(f"{name}: {said}\r\n" for name, said in fields.items()))

    def request(
        self, method: str, path: str, bearer: SecretStr | None, body: object, errand_id: str, *, is_last: bool
    ) -> bytes:
        """Return the bytes of one request; raises `BrokerFault` for a token that no header field can carry."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {self.prefix}{path} HTTP/1.1\r\n{self.fields}X-Request-ID: {errand_id}\r\n"]
        if bearer is not None:
            token = bearer.get_secret_value()
            if not _can_be_sent(token):
                raise BrokerFault("The broker gave a token that can't be sent.")
            lines.append(f"Authorization: Bearer {token}\r\n")
        if body is not None:
            lines.append(f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n")
        if is_last:
            lines.append("Connection: close\r\n")
        return "".join([*lines, "\r\n"]).encode("latin-1") + content


def _can_be_sent(token: str) -> bool:
    """Say whether it can stand in a header field and end none: printable ASCII, of whose spaces none is at an end."""
    return token.isascii() and token.isprintable() and "  " not in token and token == token.strip() != ""


def _answer(reply: Reply, bearer: SecretStr | None) -> Answer:
    fields = reply.headers
    return Answer(
        status=reply.status,
        content_type=fields.get("content-type", ""),
        body=b"" if reply.status in _SAYS_ALL else _without(bearer, reply.content(_BODY_LIMIT)),
        retry_after=fields.get("retry-after"),
        date=fields.get("date"),
    )


def _without(bearer: SecretStr | None, body: bytes) -> bytes:
    """Return a body without the very token that was sent: a broker that quotes it must not publish it."""
    return body if bearer is None else body.replace(bearer.get_secret_value().encode(), REDACTED.encode())
