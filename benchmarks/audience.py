"""A thousand listeners: users who are signed in without a sign-in each, and sockets that do nothing but count."""

import asyncio
import resource
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import cycle, islice
from time import perf_counter
from typing import NamedTuple, cast
from uuid import uuid4

import aiohttp
from pydantic import SecretStr
from sqlalchemy import insert
from typing_extensions import override

from app.broker.checksum import checksum
from app.clock import Clock
from app.db import Database
from app.safeguards.cross_site import EVENT_STREAM
from app.safeguards.sealing import KeyRing
from app.sessions.store import token_place
from app.sessions.tokens import token_hash
from app.settings import EXCHANGE_PATHS
from app.tables import broker_sessions, sessions, users

_MODEL = "EMPTY01"  # whom all of them are like at the simulator: their books stay empty while they are measured
_AT_ONCE = 32  # connections that are being opened, or requests that the simulator has
_LIFE = timedelta(hours=6)
_SPARE_FILES = 500  # beside the sockets
_PATIENCE = 30.0  # seconds for anything that is to arrive

_UPDATE, _END_OF_EVENT = b"\nevent: order-update\n", b"\n\n"
_HEADERS = """\
Host: api.partner.co.in
Accept: text/event-stream
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-IN,en;q=0.9
Referer: https://app.partner.co.in/
Origin: https://app.partner.co.in
Sec-Fetch-Site: same-site
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
X-Forwarded-For: 192.0.2.1
X-Forwarded-Proto: https
"""
"""What a browser sends, and the proxy before us adds."""


class Investor(NamedTuple):
    """A user, and what his browser holds."""

    user_id: str
    token: SecretStr


class Arrival(NamedTuple):
    """An event has come to one of a user's streams; `at` is of this process's clock."""

    at: float
    user_id: str


class Doors(NamedTuple):
    """Where users are let in: the simulator with the secret that it shares with us, and our own database."""

    simulator: str
    api_secret: SecretStr
    db: Database
    ring: KeyRing


async def signed_in(doors: Doors, count: int) -> list[Investor]:
    """Log users in at the simulator, whose tokens have to be good, and write down what a sign-in here would have."""
    names = [f"BENCH{number:05}" for number in range(count)]
    turn = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(doors.simulator) as client:

        async def token_of(name: str) -> str:
            async with turn:
                return await _logged_in(client, name, doors.api_secret)

        tokens = await asyncio.gather(*map(token_of, names))
    now, found = Clock().now(), [Investor(name, SecretStr(secrets.token_urlsafe(32))) for name in names]
    async with doors.db.transaction() as tx:
        await tx.execute(insert(users), [{"id": name, "created_at": now, "signed_in_at": now} for name in names])
        await tx.execute(insert(sessions), [
            {"id": uuid4(), "token_hash": token_hash(each.token), "user_id": each.user_id, "created_at": now,
             "last_seen_at": now, "expires_at": now + _LIFE} for each in found
        ])  # fmt: skip
        for name, token in zip(names, tokens, strict=True):
            session_id = uuid4()
            sealed = doors.ring.seal(SecretStr(token), token_place(session_id))
            await tx.execute(insert(broker_sessions).values(
                user_id=name, id=session_id, token_sealed=sealed.content, token_key_id=sealed.key_id,
                connected_at=now, expires_at=now + _LIFE,
            ))  # fmt: skip
    return found


async def _logged_in(client: aiohttp.ClientSession, name: str, api_secret: SecretStr) -> str:
    async with client.put(f"/_simulator/investors/{name}", json={"like": _MODEL}) as answer:
        answer.raise_for_status()
    async with client.post("/_simulator/codes", json={"userId": name}) as answer:
        code = (await answer.json())["authCode"]
    proof = checksum(name, code, api_secret).get_secret_value()
    async with client.post(f"/{EXCHANGE_PATHS[0]}", json={"checkSum": proof}) as answer:
        return str((await answer.json())["userSession"])


class _Stream(asyncio.Protocol):
    """One socket; what it takes in it counts and forgets."""

    def __init__(self, audience: "Audience", investor: Investor) -> None:
        self._audience = audience
        self._investor = investor
        self._rest = b""
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is of no class of asyncio's
        cookie = f"Cookie: __Host-session={self._investor.token.get_secret_value()}\n"
        head = f"GET {EVENT_STREAM} HTTP/1.1\n{_HEADERS}{cookie}\n"
        self._transport.write(head.replace("\n", "\r\n").encode())

    @override
    def data_received(self, data: bytes) -> None:
        whole, _, self._rest = (self._rest + data).rpartition(_END_OF_EVENT)
        if not self.greeted.done():
            self._greet(whole + self._rest)
        self._audience.take(self._investor.user_id, whole.count(_UPDATE))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._audience.lost += 1

    def cut(self) -> None:
        """Go away without a word."""
        self._transport.abort()

    def _greet(self, told: bytes) -> None:
        if b"\nevent: connected\n" in told:
            self.greeted.set_result(None)
        elif b"\r\n\r\n" in told and not told.startswith(b"HTTP/1.1 200 "):
            self.greeted.set_exception(AssertionError(told.decode()))


class Audience:
    """All listeners together, and the moment at which each event came to one of them."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.lost = 0
        self._wanted = 0
        self._complete = asyncio.Event()

    def take(self, user_id: str, count: int) -> None:
        if count:
            self.arrivals += [Arrival(perf_counter(), user_id)] * count
            if len(self.arrivals) >= self._wanted:
                self._complete.set()

    async def expect(self, count: int) -> list[Arrival]:
        """Return so many arrivals, in their order, as soon as the last one is there."""
        self._wanted = count
        self._complete.clear()
        if len(self.arrivals) < count:
            async with asyncio.timeout(_PATIENCE):
                await self._complete.wait()
        if self.lost or len(self.arrivals) > count:
            raise AssertionError(f"{self.lost} were cut off, and {len(self.arrivals)} instead of {count} events came")
        found, self.arrivals = self.arrivals, []
        return found


@asynccontextmanager
async def listening(port: int, investors: Sequence[Investor], streams: int) -> AsyncIterator[Audience]:
    """Have so many streams of these users in turn; everybody has been greeted."""
    _allow_files(streams)
    audience, turn, opened = Audience(), asyncio.Semaphore(_AT_ONCE), list[_Stream]()

    async def open_one(investor: Investor) -> None:
        async with turn, asyncio.timeout(_PATIENCE):
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: _Stream(audience, investor), "127.0.0.1", port
            )
            opened.append(stream)
            await stream.greeted

    try:
        await asyncio.gather(*(open_one(each) for each in islice(cycle(investors), streams)))
        yield audience
    finally:
        for stream in opened:
            stream.cut()


def _allow_files(sockets: int) -> None:
    """Let ourselves, and the worker that we start, have a file for each socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(sockets + _SPARE_FILES, hard), hard))
