"""One connection to the broker: HTTP/1.1 as httptools reads it, one question at a time, each answer told apart.

What comes unasked may be another's answer: such a line is never used again.
"""

import asyncio
import select
import zlib
from dataclasses import dataclass, field
from typing import cast

import httptools
from typing_extensions import override

_MOST_HEAD = 64 * 1024  # bytes of status line and header fields
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER_WRAPPER = 32 + zlib.MAX_WBITS  # zlib finds out itself whether it is gzip
_NO_WRAPPER = -zlib.MAX_WBITS  # what some servers call deflate (RFC 9110, 8.4.1.2)
_ZLIB_METHOD = 8  # in the low half of the first byte of what has a wrapper


class Garbled(Exception):
    """What came was not HTTP, broke off, or was larger than any answer should be."""


class Gone(Exception):
    """The connection ended, or could not be made.

    `is_unanswered` where no byte of an answer had come, `is_unsent` where certainly none of the request had gone.
    """

    def __init__(self, *, is_unanswered: bool = True, is_unsent: bool = False) -> None:
        super().__init__()
        self.is_unanswered = is_unanswered
        self.is_unsent = is_unsent


@dataclass
class Reply:
    """What was answered: names of header fields in small letters, of a repeated field the last one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray, repr=False)

    def content(self, limit: int) -> bytes:
        """Return the body as it was before it was compressed for the way; raises `Garbled`."""
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding not in _COMPRESSED or not self.body:
            return bytes(self.body)
        is_bare = coding == "deflate" and self.body[0] & 0x0F != _ZLIB_METHOD
        return _inflated(bytes(self.body), limit, _NO_WRAPPER if is_bare else _EITHER_WRAPPER)


class Line(asyncio.Protocol):
    """One connection; `ask` when it is `is_free`."""

    def __init__(self, body_limit: int, silent_statuses: frozenset[int]) -> None:
        """Take how many bytes a body may have, and the statuses whose body nobody waits for."""
        self._body_limit = body_limit
        self._most = 2 * (body_limit + _MOST_HEAD)  # bytes of one answer with all that is around its body
        self._silent = silent_statuses
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._reply = Reply()
        self._head_size = 0
        self._size = 0
        self._look = select.poll()
        self._is_whole = False
        self._is_spoilt = False
        self.idle_since = 0.0
        """When it was last put back, by the pool's clock."""

    @property
    def is_free(self) -> bool:
        """Say whether a question may go over it: open, and silent since the last answer."""
        return not self._is_spoilt and self._transport is not None and not self._transport.is_closing()

    @property
    def is_silent(self) -> bool:
        """Say whether nothing lies unread in its socket: what does was not asked for, or is its end."""
        return not self._look.poll(0)

    async def ask(self, request: bytes) -> Reply:
        """Send the bytes of one request and return the whole answer; afterwards the line is free or closed.

        Raises `Gone` and `Garbled`; whoever is cancelled meanwhile leaves it closed.
        """
        if not self.is_free or self._transport is None:
            raise Gone
        self._reply, self._head_size, self._size, self._is_whole = Reply(), 0, 0, False
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            self._waiting = None
            if not self._is_whole:
                self.abort()

    def abort(self) -> None:
        """Close it at once."""
        self._is_spoilt = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close it, with the good-bye that TLS wants."""
        self._is_spoilt = True
        if self._transport is not None:
            self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._look.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @override
    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.abort()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Garbled("The broker wants to speak something else."))
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, Garbled) else Garbled("The broker's answer was not HTTP."))
        else:
            if not self._is_whole and self._size > (self._most if self._reply.status else _MOST_HEAD):
                self._fail(Garbled("The broker's answer was larger than any answer should be."))

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._is_spoilt = True
        if self._waiting is None or self._waiting.done():
            return
        if error is None and self._ends_with_its_connection():
            self._finish()
        elif self._reply.status:
            self._fail(Garbled("The broker's answer broke off."))
        else:
            self._fail(Gone(is_unanswered=not self._size))

    # What the parser tells, by the names that it wants.

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._is_spoilt = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > _MOST_HEAD:
            raise Garbled("The head of the broker's answer was larger than any should be.")
        if not self._reply.status:  # what comes behind the body speaks for nobody (RFC 9110, 6.5.1)
            self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._is_whole:
            return
        status = self._parser.get_status_code()
        if _is_interim(status):
            self._reply.headers.clear()
            return
        self._reply.status = status
        if status in self._silent:
            self._is_spoilt = True
            self._finish()

    def on_body(self, body: bytes) -> None:
        if self._is_whole:
            return
        if len(self._reply.body) + len(body) > self._body_limit:
            raise Garbled("The broker's answer was larger than any answer should be.")
        self._reply.body += body

    def on_message_complete(self) -> None:
        if self._is_whole or not self._reply.status:  # 100 Continue and its like come before the answer
            return
        self._is_spoilt = self._is_spoilt or not self._parser.should_keep_alive()
        self._finish()

    def _ends_with_its_connection(self) -> bool:
        """Say whether the end of the connection is the end of the body (RFC 9112, 6.3)."""
        fields = self._reply.headers
        return self._reply.status > 0 and not {"content-length", "transfer-encoding"} & fields.keys()

    def _finish(self) -> None:
        self._is_whole = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._reply)
        if self._is_spoilt:
            self.close()

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.abort()


def _is_interim(status: int) -> bool:
    return 100 <= status < 200 and status != 101  # noqa: PLR2004  # RFC 9110, 15.2; 101 would end HTTP


def _inflated(body: bytes, limit: int, wrapper: int) -> bytes:
    reader = zlib.decompressobj(wrapper)
    try:
        plain = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise Garbled("The broker's answer can't be decompressed.") from error
    if len(plain) > limit:
        raise Garbled("The broker's answer was larger than any answer should be.")
    if not reader.eof:
        raise Garbled("The broker's answer broke off.")
    if reader.unused_data:
        raise Garbled("The broker's answer goes on behind its end.")
    return plain
