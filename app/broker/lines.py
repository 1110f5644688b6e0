"""The connections of one process to the broker's one host: made when needed, kept while they are good, counted.

Ours, since what it has to promise is ours: when the first byte of an order leaves, that nothing leaves twice, and that
no answer is taken for another's (docs/decisions/0017).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from socket import IPPROTO_TCP, SOCK_STREAM
from urllib.parse import urlsplit

from app.broker.line import Gone, Line, Reply
from app.clock import monotonic
from app.urls import is_address

_MOST = 256  # connections at the same time, those of one request each included
_KEPT_FOR = 15.0  # seconds without a question; most servers close after 60 or more
_KNOWN_FOR = 60.0  # seconds for which the addresses of a name are believed
_GOOD_BYE = 1.0  # seconds for the other side to confirm the end of a TLS connection

Gate = Callable[[Callable[[], bool]], Awaitable[None]]
"""What is asked at the last moment before bytes go, with a way to see whether the line still stands."""


class Lines:
    """A pool for one origin."""

    def __init__(
        self, base_url: str, connect_timeout: float, open_line: Callable[[], Line], now: Callable[[], float] = monotonic
    ) -> None:
        parts = urlsplit(base_url)
        self._host = _ascii(parts.hostname or "")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _tls() if parts.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._open_line = open_line
        self._now = now
        self._kept: list[Line] = []
        self._room = asyncio.Semaphore(_MOST)
        self._addresses: list[str] = []
        self._known_until = float("-inf")
        self._resolving = asyncio.Lock()
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def aclose(self) -> None:
        """Close what is kept; what is being used ends with its request."""
        self._is_closed = True
        if self._sweeping:
            self._sweeping.cancel()
        for line in self._kept:
            line.close()
        self._kept.clear()

    async def fetch(self, request: bytes, gate: Gate, *, is_repeatable: bool) -> Reply:
        """Send one request over a kept line or a new one, through the gate each time.

        Where a kept line turns out to have died it is sent once more: any request of which no byte had gone, and one
        that may be repeated where no byte of an answer had come.
        Raises `Gone`, `Garbled`, `OSError` where there is no connection, and what the gate does.
        """
        async with self._room:
            kept = self._best_kept()
            if kept is not None:
                try:
                    return await self._over(kept, request, gate, lambda: kept.is_free and kept.is_silent)
                except Gone as error:
                    if not (error.is_unsent or (is_repeatable and error.is_unanswered)):
                        raise
            line = await self._connect()
            return await self._over(line, request, gate, lambda: line.is_free)

    async def fetch_alone(self, request: bytes, gate: Gate) -> Reply:
        """Send one request over a line of its own, which is closed behind it; raises what `fetch` does."""
        async with self._room:
            line = await self._connect()
            try:
                await gate(lambda: line.is_free)
                return await line.ask(request)
            finally:
                line.close()

    async def _over(self, line: Line, request: bytes, gate: Gate, is_there: Callable[[], bool]) -> Reply:
        is_answered = False
        try:
            await gate(is_there)
            reply = await line.ask(request)
            is_answered = True
        finally:
            if not is_answered:
                line.abort()
            elif line.is_free and not self._is_closed:
                self._keep(line)
            else:
                line.close()
        return reply

    def _keep(self, line: Line) -> None:
        line.idle_since = self._now()
        self._kept.append(line)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(_KEPT_FOR, self._sweep)

    def _best_kept(self) -> Line | None:
        """Return the line that was used last: the others may grow old and go."""
        while self._kept:
            line = self._kept.pop()
            if line.is_free and self._now() - line.idle_since < _KEPT_FOR:
                return line
            line.close()
        return None

    def _sweep(self) -> None:
        self._sweeping = None
        young = self._now() - _KEPT_FOR
        for line in self._kept:
            if line.idle_since <= young:
                line.close()
        self._kept = [line for line in self._kept if line.is_free]
        if self._kept:
            self._sweeping = asyncio.get_running_loop().call_later(_KEPT_FOR, self._sweep)

    async def _connect(self) -> Line:
        """Return a new line, to the first of the host's addresses that takes one; raises `Gone` and `OSError`."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._connect_to_any(await self._resolved())
        except TimeoutError as error:  # which is told apart from that of the whole call
            raise Gone from error

    async def _connect_to_any(self, addresses: list[str]) -> Line:
        share = self._connect_timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._connect_to(address)
            except OSError:  # TimeoutError is one; the next address has its turn
                self._prefer_others(address)
        return await self._connect_to(addresses[-1])

    async def _connect_to(self, address: str) -> Line:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            _, line = await loop.create_connection(self._open_line, address, self._port)
        else:
            _, line = await loop.create_connection(
                self._open_line, address, self._port,
                ssl=self._tls, server_hostname=self._host, ssl_shutdown_timeout=_GOOD_BYE,
            )  # fmt: skip
        return line

    def _prefer_others(self, address: str) -> None:
        """Try an address that took no connection last from now on: each order would wait for it again."""
        self._addresses = [*(each for each in self._addresses if each != address), address]

    async def _resolved(self) -> list[str]:
        if is_address(self._host):
            return [self._host]
        async with self._resolving:  # a name that can't be looked up must not take all of the threads that look
            if self._now() >= self._known_until:
                self._addresses = await self._looked_up()
                self._known_until = self._now() + _KNOWN_FOR
            return self._addresses

    async def _looked_up(self) -> list[str]:
        """Return the addresses of the host's name in the order in which they were good before; raises `OSError`."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM, proto=IPPROTO_TCP)
        except UnicodeError as error:  # of a label that is longer than any name's
            raise OSError(f"{self._host} is no name of a host.") from error
        known = {address: place for place, address in enumerate(self._addresses)}
        return sorted(dict.fromkeys(str(each[4][0]) for each in found), key=lambda each: known.get(each, -1))


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode("ascii")
