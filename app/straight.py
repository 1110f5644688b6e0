"""The straight way to what pages ask for all the time: past the router and the machinery of the framework.

A GET whose function asks for nothing but the caller, his shared answers and the process's state needs neither. It
stands in its router as any other, which describes it and serves whatever comes another way; this saves two thirds of
the instructions of a short request (docs/performance.md).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from pydantic import AwareDatetime, TypeAdapter
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.dependencies import State, process_state
from app.heads import said
from app.sessions.asking import Reading
from app.sessions.current import Shared, SharedAnswers, SignedIn, shared_reads, signed_in, wants_fresh
from app.trading import Model

_MOMENT = TypeAdapter(AwareDatetime)
_JSON = (b"content-type", b"application/json")
_ASKED = {"shared": Shared, "investor": SignedIn, "state": State}
"""What such a function may ask for, by the names under which it does."""
_OF_CALLER = frozenset({"shared", "investor"})


@dataclass(frozen=True)
class _Read:
    """One of them: the route it stands in, what it asks for, and how its answer is written."""

    route: APIRoute
    endpoint: Callable[..., Awaitable[Any]]
    wanted: frozenset[str]
    written: TypeAdapter[Any]

    async def answer(self, request: Request) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the fields of the answer; raises what the function does."""
        fields: dict[str, str] = {}
        arguments: dict[str, object] = {}
        shared: SharedAnswers | None = None
        if "state" in self.wanted:
            arguments["state"] = process_state(request)
        if self.wanted & _OF_CALLER:
            caller = await signed_in(request, said(request.scope, b"x-background"))
            if "investor" in self.wanted:
                arguments["investor"] = caller
            if "shared" in self.wanted:
                shared = SharedAnswers(shared_reads(request), caller, fields, is_fresh_wanted=wants_fresh(request))
                arguments["shared"] = shared
        told = await self.endpoint(**arguments)
        reading = shared.only_reading if shared and len(self.wanted) == 1 else None
        return self._body(told) if reading is None else self._body_of(reading, told), fields

    def _body(self, told: Model) -> bytes:
        return self.written.dump_json(told, by_alias=True)

    def _body_of(self, reading: Reading[Any], told: Model) -> bytes:
        """Return what was made of one answer alone, as it was written the first time but for its moment."""
        moment = _MOMENT.dump_json(reading.as_of)
        known = reading.written.get(self.route.path)
        if known is None:
            before, *after = self._body(told).split(moment)
            if len(after) != 1:  # it is not told, or more than once
                return moment.join([before, *after])
            known = reading.written[self.route.path] = before, after[0]
        return moment.join(known)


class Straight:
    """Answers those reads, and hands everything else to the router."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._reads = {each.route.path: each for route in routes if (each := _read_of(route))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = self._reads.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if read is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = read.route
        body, fields = await read.answer(Request(scope))
        length = (b"content-length", str(len(body)).encode("ascii"))
        told = [(name.lower().encode("ascii"), content.encode("ascii")) for name, content in fields.items()]
        await send({"type": "http.response.start", "status": 200, "headers": [length, _JSON, *told]})
        await send({"type": "http.response.body", "body": body})


def _read_of(route: BaseRoute) -> _Read | None:
    """Return a route as one of these reads, none where it is another kind of route."""
    if not isinstance(route, APIRoute) or route.methods != {"GET"} or "{" in route.path or route.dependencies:
        return None
    hints = get_type_hints(route.endpoint, include_extras=True)
    parameters, told = signature(route.endpoint).parameters, hints.get("return")
    if not (isinstance(told, type) and issubclass(told, Model)) or route.status_code not in {None, 200}:
        return None
    if any(hints[name] != _ASKED.get(name) for name in parameters):
        return None
    return _Read(route, route.endpoint, frozenset(parameters), TypeAdapter(told))
