"""What stands before the broker's calls: each is written down and counted; a limit or a fault may answer instead."""

import asyncio
import json
import time
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.calls import CALL_OF_PATH
from simulator.faults import CANNED
from simulator.limits import orders_by_exchange
from simulator.state import Broker, Fault

_SLOW = 2.0  # seconds
_HANGING = 60.0
_DRIP_EVERY = 0.3
_LONGEST_DRIP = 60.0


class Wire:
    """Plain ASGI around the broker's calls."""

    def __init__(self, app: ASGIApp, broker: Broker) -> None:
        self._app = app
        self._broker = broker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = CALL_OF_PATH.get(scope.get("path", ""))
        if scope["type"] != "http" or call is None:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        content = _json(body)
        user_id = self._user(scope, call, content)
        self._write_down(scope, call, user_id, content)
        wait = self._count(call, user_id, content)
        if wait and self._broker.limits.is_enforced:
            await _canned(Fault("http429", seconds=wait))(scope, receive, send)
            return
        fault = self._broker.take_fault(user_id, call)
        scope["fault"] = fault.name if fault else None
        if fault is not None and fault.after:
            await self._answer_after(fault, body, receive, send, scope)
        elif fault is None or not await _answer_instead(fault, receive, send, scope):
            await self._app(scope, _replayed(body), send)

    async def _answer_after(self, fault: Fault, body: bytes, receive: Receive, send: Send, scope: Scope) -> None:
        """Carry the call out first and keep its answer back: whoever asked can't know that it was."""
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, _replayed(body), keep)
        if not await _answer_instead(fault, receive, send, scope):
            for message in answer:
                await send(message)

    def _user(self, scope: Scope, call: str, content: object) -> str:
        """Return whom a request is about: by his checksum or by his token."""
        if call == "exchange":
            checksum = content.get("checkSum") if isinstance(content, dict) else None
            owner = self._broker.owner_of_checksum(checksum) if isinstance(checksum, str) else None
        else:
            owner = self._broker.owner_of_token(bearer(_headers(scope)))
        return owner.id if owner else ""

    def _count(self, call: str, user_id: str, content: object) -> int:
        """Return the seconds for which a call is over the limits; an exchange speaks for nobody yet."""
        orders = orders_by_exchange(call, content, self._broker.books.exchange_of)
        return self._broker.limits.receive(call, "" if call == "exchange" else user_id, orders, time.monotonic_ns())

    def _write_down(self, scope: Scope, call: str, user_id: str, content: object) -> None:
        self._broker.requests.append({
            "at": time.time(),  # noqa: TID251  # the simulator is another program than app/
            "call": call, "method": scope["method"], "path": scope["path"], "userId": user_id,
            "headers": _headers(scope), "body": content,
        })  # fmt: skip


def bearer(headers: dict[str, str]) -> str:
    """Return the token of an Authorization header, empty if there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


async def _answer_instead(fault: Fault, receive: Receive, send: Send, scope: Scope) -> bool:
    """Carry out a fault; false where the call itself has to answer (late, or wrongly)."""
    match fault.name:
        case "slow":
            await asyncio.sleep(fault.seconds or _SLOW)
            return False
        case "hanging":
            await _hang(receive, fault.seconds or _HANGING)
            _cut(receive)
        case "drip":
            await _drip(receive, send, fault.seconds or _LONGEST_DRIP)
        case "reset":
            _cut(receive)
        case name if name in CANNED:
            await _canned(fault)(scope, receive, send)
        case _:
            return False
    return True


def _canned(fault: Fault) -> Response:
    canned = CANNED[fault.name]
    headers = {"Location": "/"} if fault.name == "redirect302" else {}
    if fault.name == "http429" and fault.seconds is not None:
        headers["Retry-After"] = str(int(fault.seconds))
    return Response(canned.body, canned.status, headers, canned.content_type)


async def _hang(receive: Receive, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _drip(receive: Receive, send: Send, seconds: float) -> None:
    """Keep a caller busy who has a time-out per chunk only."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    gone = asyncio.create_task(_hang(receive, seconds))
    while not gone.done():
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.wait([gone], timeout=_DRIP_EVERY)
    await gone


def _cut(receive: Any) -> None:
    """Close the connection under the server's feet; ASGI has no word for it, so uvicorn's own transport is used."""
    receive.__self__.transport.abort()


async def _body(receive: Receive) -> bytes:
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


def _replayed(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): content.decode("latin-1") for name, content in scope["headers"]}


def _json(body: bytes) -> object:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("utf-8", "replace")
