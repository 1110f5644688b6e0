"""Nobody holds a connection by being slow: uvicorn's own protocol, with a time for a request's head and for an answer.

Uvicorn drops who is idle between two requests, and the gates drop who does not finish a body. Whoever sends a head byte
by byte, or never reads what he asked for, would stay for as long as he likes, and cost us a connection each.
"""

import asyncio
import socket
from asyncio import TimerHandle
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server as UvicornServer
from uvicorn.server import ServerState

from app.joined_writes import JoinedWrites
from app.observability import logger

HEAD_PATIENCE = 10.0
"""Seconds until a head is complete; it is a few hundred bytes, sent in one piece by every browser and proxy."""
ANSWER_PATIENCE = 30.0
"""Seconds in which somebody has to read something of his answer, beyond what two kernels hold; a phone is out of a
tunnel by then. Whoever reads on, however slowly, gets all of it."""
FIRST_REQUEST_PATIENCE = 0.5
"""Seconds that a process which is told to end leaves a connection on which nothing was asked yet."""
MAX_HEAD = 64 * 1024
"""Bytes of a head that is not complete. The gates refuse less in words; this is for what never reaches them."""

_log = logger("server")


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, which ends connections that are in nobody's interest."""

    head_patience = HEAD_PATIENCE
    answer_patience = ANSWER_PATIENCE
    first_request_patience = FIRST_REQUEST_PATIENCE
    _joined: JoinedWrites

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: TimerHandle | None = None
        self._answer_timer: TimerHandle | None = None
        self._unread = 0
        self._is_in_head = False
        self._has_ended_one = False
        self._is_told_to_end = False
        self._head_size = 0
        self._answering: RequestResponseCycle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._joined = JoinedWrites(transport, self.loop.call_soon)
        super().connection_made(self._joined)
        self._wait_for_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting_for_head()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)
        if self._answering is not None:  # uvicorn tells the last one alone, and it has not begun
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._unset_keepalive_if_required()  # uvicorn leaves it after an RST; it would find nobody

    @override
    def data_received(self, data: bytes) -> None:
        self._has_ended_one = False
        super().data_received(data)
        if self.transport.is_closing():
            self._wait_for_reader()
            return
        if self._is_in_head:
            if not self._has_ended_one:  # else how much of it is head nobody says, and one read holds little
                self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._drop("head_too_large")
                return
        if self._is_in_head or self._is_idle:  # idle: empty lines, or the rest of a body that was refused
            self._wait_for_head()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stop_waiting_for_head()
        self._is_in_head, self._head_size = True, 0

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head; what follows a body has passed no gate, and we have no use for it."""
        if self._is_in_head:
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._stop_waiting_for_head()
        self._is_in_head = False
        before: RequestResponseCycle | None = self.cycle
        super().on_headers_complete()
        if self._is_told_to_end:
            self.cycle.keep_alive = False
        if before is not None and not before.response_complete:
            self._answering = self._answering or before  # the new one stands in the queue behind it

    @override
    def on_message_complete(self) -> None:
        self._has_ended_one = True
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        self._joined.flush()  # an answer without a body
        self._answering = None
        super().on_response_complete()
        if self._head_timer is not None:  # the next head could not arrive while we did not read: its time begins now
            self._stop_waiting_for_head()
            self._wait_for_head()
        if self.transport.is_closing():
            self._wait_for_reader()

    @override
    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._wait_for_reader()

    @override
    def shutdown(self) -> None:
        """End what is idle; a stream would not end by itself, and is asked to.

        Where nothing was asked yet, a first request may be on its way, and a proxy can't send an order a second time.
        """
        self.app_state.get("stop_streams", _nothing)()
        if not self._has_asked:
            self._is_told_to_end = True
            self.loop.call_later(self.first_request_patience, self._end_unasked)
            return
        super().shutdown()
        if self.transport.is_closing():
            self._wait_for_reader()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting_for_reader()
        if self.transport.is_closing():
            self._wait_for_reader()

    def _end_unasked(self) -> None:
        if not self._has_asked:
            self.transport.close()

    @property
    def _has_asked(self) -> bool:
        has_asked: bool = self.cycle is not None  # whatever uvicorn's types say: before the first request it is
        return has_asked

    @property
    def _is_idle(self) -> bool:
        return not self._has_asked or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        """Let the time for a head begin, unless it has."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_patience, self._give_up_head)

    def _stop_waiting_for_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _wait_for_reader(self) -> None:
        """Let the time for reading begin; a connection that is closed stays open until the last byte has gone."""
        if self._answer_timer is None and self in self.connections:  # a late answer may find nobody any more
            self._unread = self.transport.get_write_buffer_size()
            self._answer_timer = self.loop.call_later(self.answer_patience, self._look_for_reader)

    def _stop_waiting_for_reader(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _look_for_reader(self) -> None:
        """Wait on for somebody who has read something since the last look."""
        self._answer_timer = None
        if self.transport.get_write_buffer_size() < self._unread:
            self._wait_for_reader()
        else:
            self._drop("answer_not_read")

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self.flow.read_paused:  # it is we who do not read: a request stands in the queue behind another
            self._wait_for_head()
        else:
            self._drop("head_not_complete")

    def _drop(self, reason: str) -> None:
        """Cut the connection: closing it would wait for somebody to read."""
        _log.info("slow_client_dropped", reason=reason)
        self.transport.abort()


class Server(UvicornServer):
    """Uvicorn's server, which turns nobody away whom the kernel has connected before it was told to stop.

    Closing a listening socket resets whoever waits in its queue, and a proxy can't send an order a second time.
    """

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = [accepted for each in sockets or () for accepted in _take_waiting(each)]
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        await asyncio.gather(*(self._take_in(each) for each in waiting))
        await super().shutdown(sockets)

    async def _take_in(self, accepted: socket.socket) -> None:
        loop, over_tls = asyncio.get_running_loop(), self.config.ssl
        patience = FIRST_REQUEST_PATIENCE if over_tls else None
        with suppress(OSError):  # he has left, or says nothing
            await loop.connect_accepted_socket(self._protocol, accepted, ssl=over_tls, ssl_handshake_timeout=patience)

    def _protocol(self) -> ImpatientProtocol:
        return ImpatientProtocol(self.config, self.server_state, self.lifespan.state)


def _take_waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait to be accepted."""
    listening.settimeout(0)  # as a loop that listens on it has it anyway
    with suppress(OSError):  # nobody waits any more, or he has left
        while True:
            accepted, _ = listening.accept()
            accepted.settimeout(0)
            yield accepted


def _nothing() -> None:
    """Stop no streams, where the app has none."""
