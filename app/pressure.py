"""A process takes on no more requests than it can answer: the others are told so at once, and to come again.

Counted from the moment at which the whole request is there until its answer begins. Whoever sends or reads slowly takes
nobody's place, nor does a stream once it flows; that somebody is slow is judged elsewhere (slow_clients.py).
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import measures
from app.observability import logger
from app.problems import TemporarilyUnavailable
from app.rendering import ProblemRenderer

_log = logger("pressure")

_ALWAYS = frozenset({"/healthz", "/readyz"})
"""Who asks whether we live must not take "busy" for "dead": the machine would lose a replica when it needs it most."""
_KEPT = 0.1  # of all places, for cancels: getting out has to be possible when coming in is not
_WAIT = 1.0  # seconds; what is under way then is other requests


class Pressure:
    """Counts what is under way in this process, and refuses what would be too much."""

    def __init__(self, app: ASGIApp, *, renderer: ProblemRenderer, most: int) -> None:
        self._app = app
        self._renderer = renderer
        self._most = most
        self._most_cancels = most + max(int(most * _KEPT), 1)
        self._under_way = 0
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._under_way >= (self._most_cancels if scope["method"] == "DELETE" else self._most):
            await self._refuse(scope, receive, send)
            return
        self._under_way += 1
        is_counted = True

        def leave() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._under_way -= 1
                self._is_told = self._is_told and self._under_way * 2 > self._most

        async def send_and_leave(message: Message) -> None:
            leave()
            await send(message)

        try:
            await self._app(scope, receive, send_and_leave)
        finally:
            leave()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        measures.request_refused_under_pressure()
        if not self._is_told:  # once, until it has become quiet: a line for each would be one more burden
            self._is_told = True
            _log.error("too_many_requests_under_way", most=self._most)
        problem = TemporarilyUnavailable("Too many requests are under way.", wait=_WAIT)
        await self._renderer.answer(problem, scope)(scope, receive, send)
