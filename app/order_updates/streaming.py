"""One stream of order updates, from its greeting to its end."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from app.observability import logger
from app.order_updates import wire
from app.order_updates.listener import UNAVAILABLE, Listener, Place
from app.order_updates.listening import Listeners
from app.outlasting import outlast
from app.rounds import safely

_HEADERS = {
    "Content-Type": f"{wire.MEDIA_TYPE}; charset=utf-8",
    "Cache-Control": "no-store, no-transform",  # a proxy that compresses would keep events back
    "X-Accel-Buffering": "no",  # nginx, ngx_http_proxy_module
}
_GONE = "gone"
_log = logger("streams")


class EventStream(Response):
    """The order updates of one caller behind `after`; from now on where that is none."""

    def __init__(self, listeners: Listeners, place: Place, after: int | None, heartbeat: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]
        self._stream = partial(_stream, listeners, place, after, heartbeat)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        outlast(scope, self._stream)


async def _stream(
    listeners: Listeners, place: Place, after: int | None, heartbeat: float, receive: Receive, send: Send
) -> None:
    is_known = after is not None and after <= place.last_event
    told = after if after is not None and is_known else place.last_event
    with listeners.joined(place, told) as listener:
        leaving = asyncio.create_task(_wait_for_leave(receive, listener))
        try:
            await send(_body(_greeting(listener, place.last_event, is_reset=after is not None and not is_known)))
            async for content in _told(listener, heartbeat):
                await send(_body(content))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()


async def _told(listener: Listener, heartbeat: float) -> AsyncIterator[bytes]:
    """Yield everything that a listener is to be told, until there is a reason to end."""
    while (reason := listener.reason) is None:
        content = await safely(_log, listener.next(heartbeat), "stream_failed")
        if content is None:
            listener.end(UNAVAILABLE)
        elif content:
            yield content
    if reason != _GONE:
        yield wire.end(reason)


def _greeting(listener: Listener, head: int, *, is_reset: bool) -> bytes:
    ends_at = listener.ends_on.isoformat().replace("+00:00", "Z")
    return wire.connected(listener.topic.user_id, listener.told, head, ends_at) + (
        wire.reset(head) if is_reset else b""
    )


async def _wait_for_leave(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end(_GONE)


def _body(content: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": True}
