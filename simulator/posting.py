"""How order updates leave the simulator: a line per URL, each post tried once, and every outcome counted."""

import asyncio
import json
import ssl
import time
from collections import deque
from dataclasses import dataclass

import httpx

from simulator.investors import Fields

_PATIENCE = 2.0  # seconds for one post, the reading of its answer included
_HELD_BACK = 1.0  # seconds that an update waits to be overtaken
_MOST_WAITING = 2000  # updates of one URL
_REMEMBERED = 200  # deliveries


class Tally:
    """What became of everything that was to be posted: answered, never sent, or sent in vain."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.posted = self.lost = self.failed = 0
        self.deliveries: deque[Fields] = deque(maxlen=_REMEMBERED)

    def note(self, user_id: str, url: str, payload: Fields, status: int | None) -> None:
        """Take in one post and the HTTP status it was answered with, none for no answer."""
        if status is None:
            self.failed += 1
        else:
            self.posted += 1
        self.deliveries.append({"userId": user_id, "callbackUrl": url, "payload": payload, "status": status})


@dataclass(frozen=True)
class Post:
    """One update on its way; `due_at` is a moment of the monotonic clock, in seconds."""

    payload: Fields
    times: int = 1
    due_at: float = 0.0
    is_overtaken: bool = False


class Postman:
    """Posts, with a time-out and once; the client is made when there is a loop to run it."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._client: httpx.AsyncClient | None = None
        self._lines: set[asyncio.Task[None]] = set()

    def employ(self, line: "Line") -> asyncio.Task[None]:
        """Let a line go on by itself until it is cut."""
        task = asyncio.create_task(line.run())
        self._lines.add(task)
        task.add_done_callback(self._lines.discard)
        return task

    def lose(self, count: int) -> None:
        self._tally.lost += count

    async def post(self, user_id: str, url: str, payload: Fields) -> None:
        """Post once; whatever goes wrong is counted, and nobody is told."""
        if self._client is None:
            self._client = _new_client()
        status, headers = None, {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                self._client.stream("POST", url, content=json.dumps(payload), headers=headers) as response,
            ):
                status = response.status_code
                async for _ in response.aiter_raw():
                    pass  # read to its end as any client does, and thrown away
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            pass  # counted: where there is no answer, there is no status
        self._tally.note(user_id, url, payload, status)

    async def close(self) -> None:
        """Cut every line and close the client."""
        cut = list(self._lines)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class Line:
    """What waits for one URL of an investor, and goes out one after the other."""

    def __init__(self, user_id: str, url: str, postman: Postman) -> None:
        self._user_id = user_id
        self._url = url
        self._postman = postman
        self._queue: asyncio.Queue[Post] = asyncio.Queue(_MOST_WAITING)
        self.waiting = 0  # posts
        self._going = postman.employ(self)

    def put(self, post: Post) -> None:
        """Queue an update, or lose it where too many wait already."""
        try:
            self._queue.put_nowait(post)
        except asyncio.QueueFull:
            self._postman.lose(post.times)
        else:
            self.waiting += post.times

    def cut(self) -> None:
        """Post nothing more, not even what waits."""
        self._going.cancel()

    async def run(self) -> None:
        """Post what comes until the line is cut."""
        while True:
            for each in await self._next():
                await asyncio.sleep(each.due_at - time.monotonic())
                for _ in range(each.times):
                    await self._postman.post(self._user_id, self._url, each.payload)
                    self.waiting -= 1

    async def _next(self) -> list[Post]:
        """Return what goes next: one update, or one that came later and the one that it overtakes."""
        first = await self._queue.get()
        if not first.is_overtaken:
            return [first]
        try:
            async with asyncio.timeout(_HELD_BACK):
                return [await self._queue.get(), first]
        except TimeoutError:
            return [first]


def _new_client() -> httpx.AsyncClient:
    """Return a client that keeps no connection: a kept one may be closed just when it is used, and none is retried.

    Proxies of the environment are not used; SSL_CERT_FILE is.
    """
    return httpx.AsyncClient(
        verify=ssl.create_default_context(), trust_env=False, timeout=None,  # noqa: S113  # the time-out is around it
        limits=httpx.Limits(max_keepalive_connections=0),
    )  # fmt: skip
