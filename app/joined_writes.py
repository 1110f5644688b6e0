"""The head of an answer goes out together with the first of its body: one write, one packet, one waking of the reader.

Uvicorn writes each for itself, and the event loop hands each to the kernel at once.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from typing_extensions import override

_HEAD = b"HTTP/1.1 "


class JoinedWrites(asyncio.Transport):
    """A transport that holds back what begins like a head until something follows, or the loop's next turn.

    A body that begins so is held as well, for as long, and goes out in its order.
    """

    def __init__(self, transport: asyncio.Transport, call_soon: Callable[[Callable[[], None]], asyncio.Handle]) -> None:
        super().__init__()
        self._transport = transport
        self._call_soon = call_soon
        self._held: bytes | None = None
        self._turn: asyncio.Handle | None = None

    @override
    def write(self, data: Any) -> None:
        held = self._take()
        if held is not None:
            self._transport.writelines((held, data))
        elif data[: len(_HEAD)] == _HEAD:
            self._held, self._turn = bytes(data), self._call_soon(self.flush)
        else:
            self._transport.write(data)

    @override
    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def flush(self) -> None:
        """Let go what is held."""
        if (held := self._take()) is not None:
            self._transport.write(held)

    def _take(self) -> bytes | None:
        held, self._held = self._held, None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        return held

    @override
    def close(self) -> None:
        self.flush()
        self._transport.close()

    @override
    def abort(self) -> None:
        self._take()
        self._transport.abort()

    @override
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    @override
    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + len(self._held or b"")

    @override
    def pause_reading(self) -> None:
        self._transport.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._transport.resume_reading()

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()
