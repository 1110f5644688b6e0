"""One HTTP client for the broker: a permit per request, a total deadline, a bounded body, no redirects, no cookies.

aiohttp rather than httpx: docs/decisions/0008. It repeats a GET once when a kept connection turns out to be dead before
any answer came, with a permit of its own; it never repeats a POST. What does something at the broker goes through
`send_once`, which would stop a second try of whatever library at the door.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

import aiohttp
from pydantic import SecretStr
from typing_extensions import override

from app.broker.errors import NotSent
from app.broker.permits import Clearance, Meter
from app.clock import monotonic
from app.limits import Demand, Permit
from app.observability import REDACTED, logger
from app.problems import BrokerFault, BrokerTimeout, BrokerUnavailable, TemporarilyUnavailable

_log = logger("broker")

_BODY_LIMIT = 8 * 1024 * 1024  # bytes; an order book of a thousand rows is one megabyte
_SAYS_ALL = frozenset({401, 403, 404, 405, 429, 502, 503, 504})
"""Statuses that are judged alone (docs/broker.md, "Envelope"): their body is left unread, whole or broken."""

_CHUNK = 64 * 1024
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
    has_begun: bool = False

    async def begin(self) -> None:
        """Let the bytes go under a fresh permit; refuse those of an order call that is late or was let go before."""
        self._hold_back_if_late()
        await self._use_permit()
        self._hold_back_if_late()
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


_sending: ContextVar[_Sending] = ContextVar("sending")


class _WatchedRequest(aiohttp.ClientRequest):
    """Asks at the last moment, when a connection is there and nothing is written yet."""

    @override
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:  # something came unasked: perhaps another's answer
            raise aiohttp.ServerDisconnectedError
        await _sending.get().begin()
        return await super().send(conn)


class Transport:
    """The connections of one process to the broker."""

    def __init__(self, reading: aiohttp.ClientSession, acting: aiohttp.ClientSession, meter: Meter) -> None:
        self._reading = reading
        self._acting = acting
        self._meter = meter

    @classmethod
    def open(cls, base_url: str, connect_timeout: timedelta, meter: Meter) -> Self:
        """Return a transport whose paths are below `base_url`; must be called within a running loop."""
        # An order call has a connection of its own: on a kept one a late answer to somebody else might already lie, and
        # whether it is still alive shows only after bytes have gone out.
        reading, acting = (_client(base_url, connect_timeout, is_kept=is_kept) for is_kept in (True, False))
        return cls(reading, acting, meter)

    async def aclose(self) -> None:
        await self._reading.close()
        await self._acting.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        demand: Demand,
        deadline: timedelta,
        bearer: SecretStr | None = None,
        body: object = None,
        is_alone: bool = False,
    ) -> Answer:
        """Send one request and return whatever was answered, of any status; without a body where the status says all.

        What can't be asked a second time goes alone, over a connection of its own: a kept one may have died meanwhile.
        Raises what the meter does, with nothing sent; `BrokerTimeout` when the whole has not arrived within `deadline`,
        `BrokerUnavailable` when there is no connection or it broke, `BrokerFault` when what came is not HTTP or is
        larger than 8 MiB.
        """
        permit = await self._meter.take(demand)  # before a connection is made for a request that may not go
        sending = _Sending(self._meter, demand, permit, None, is_alone=is_alone)
        return await self._send(sending, method, path, deadline, bearer, body)

    async def send_once(
        self, method: str, path: str, *, clearance: Clearance, deadline: timedelta, body: object
    ) -> Answer:
        """Send one request that does something, its first byte before `write_by` or none at all.

        Raises `NotSent`, and what the meter does, where certainly no byte has left; else as `send` does: then nobody
        knows whether it was done.
        """
        permit = clearance.permit
        sending = _Sending(self._meter, permit.demand, permit, clearance.write_by, is_alone=True)
        try:
            return await self._send(sending, method, path, deadline, clearance.bearer.token, body)
        except _HeldBack as error:
            if sending.has_begun:
                raise BrokerUnavailable from error
            raise NotSent from error
        except (BrokerUnavailable, BrokerTimeout) as error:
            if sending.has_begun:
                raise
            raise NotSent from error

    async def _send(
        self,
        sending: _Sending,
        method: str,
        path: str,
        deadline: timedelta,
        bearer: SecretStr | None,
        body: object,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {bearer.get_secret_value()}"} if bearer else None
        client = self._acting if sending.is_alone else self._reading
        began_at = monotonic()
        _sending.set(sending)
        try:
            async with (
                asyncio.timeout(deadline.total_seconds()),
                client.request(method, path, json=body, headers=headers, allow_redirects=False) as response,
            ):
                answer = Answer(
                    status=response.status,
                    content_type=response.headers.get("Content-Type", ""),
                    body=b"" if response.status in _SAYS_ALL else _without(bearer, await _bounded(response)),
                    retry_after=response.headers.get("Retry-After"),
                    date=response.headers.get("Date"),
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise BrokerUnavailable from error
        except TimeoutError as error:
            raise BrokerTimeout from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise BrokerFault("The broker's answer broke off or was not HTTP.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BrokerUnavailable from error
        milliseconds = round((monotonic() - began_at) * 1000, 1)
        _log.debug("broker_answered", method=method, path=path, status=answer.status, milliseconds=milliseconds)
        return answer


def _client(base_url: str, connect_timeout: timedelta, *, is_kept: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        base_url=base_url,
        connector=aiohttp.TCPConnector(limit=256, ttl_dns_cache=60, force_close=not is_kept),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout.total_seconds()),
        headers={"Accept": "application/json", "User-Agent": "gopocket-partner"},
        request_class=_WatchedRequest,
    )


def _without(bearer: SecretStr | None, body: bytes) -> bytes:
    """Return a body without the very token that was sent: a broker that quotes it must not publish it."""
    return body if bearer is None else body.replace(bearer.get_secret_value().encode(), REDACTED.encode())


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise BrokerFault("The broker's answer was larger than any answer should be.")
    return bytes(body)
