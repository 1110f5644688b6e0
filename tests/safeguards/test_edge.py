"""The edge as a whole: what a browser may ask of it, and what becomes of faults that nobody foresaw."""

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app import measures
from app.main import create_app
from app.middleware import Edge
from app.observability import configure_logging
from app.outlasting import outlast
from app.problems import NotFound
from app.rendering import ProblemRenderer
from tests.support.configured import configured
from tests.support.investor import Browser
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

OURS = "http://127.0.0.1:5"
FOREIGN = "https://evil.example"
EXPOSED = "Location, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed, Age, X-Request-ID"
CORS = "access-control-"
OWN_ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{1,16}")


def app_with(database_url: str = "postgresql:///") -> FastAPI:
    """Return the whole service, whose lifespan nobody begins."""
    return create_app(
        configured(
            database_url, "http://127.0.0.1:9/", OURS, frontend_origins=OURS, default_return_url=f"{OURS}/portal/"
        )
    )


def talking_to(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=OURS)


def named(answer: httpx.Response, prefix: str = CORS) -> dict[str, str]:
    """Return the fields whose names begin so, each of which is there once."""
    found = [(name, content) for name, content in answer.headers.multi_items() if name.startswith(prefix)]
    assert len(found) == len(dict(found)), found
    return dict(found)


@pytest.mark.parametrize("path", ["/v1/orders", "/healthz", "/nowhere", "/sso/login"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_a_browser_that_asks_before_is_told_once_what_it_may_do(path: str, method: str) -> None:
    asked = {
        "Origin": OURS,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type, idempotency-key, x-background, cache-control, last-event-id,"
        " x-request-id",
    }
    async with talking_to(app_with()) as client:
        answer = await client.options(path, headers=asked)
    assert (answer.status_code, answer.text) == (200, "OK")
    assert named(answer) == {
        f"{CORS}allow-origin": OURS,
        f"{CORS}allow-credentials": "true",
        f"{CORS}allow-methods": "GET, POST, PATCH, DELETE",
        f"{CORS}allow-headers": "Accept, Accept-Language, Cache-Control, Content-Language, Content-Type, "
        "Idempotency-Key, Last-Event-ID, X-Background, X-Request-ID",
        f"{CORS}max-age": "600",
    }
    assert named(answer, "ratelimit") == {}
    assert OWN_ID.fullmatch(answer.headers["x-request-id"])
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("asked", [
    {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"},
    {"Origin": "null", "Access-Control-Request-Method": "GET"},
    {"Origin": OURS, "Access-Control-Request-Method": "PUT"},
    {"Origin": OURS, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
])  # fmt: skip
async def test_what_a_browser_may_not_do_it_is_refused(asked: dict[str, str]) -> None:
    async with talking_to(app_with()) as client:
        answer = await client.options("/v1/orders", headers=asked)
    assert answer.status_code == 400
    assert answer.text.startswith("Disallowed CORS")
    assert named(answer).get(f"{CORS}allow-origin") in ({OURS} if asked["Origin"] == OURS else {None})


@pytest.mark.parametrize(
    ("origin", "allowed"), [(OURS, OURS), (FOREIGN, None), ("null", None), (f"{OURS}, {OURS}", None)]
)
async def test_other_answers_name_an_origin_that_is_ours_and_no_other(origin: str, allowed: str | None) -> None:
    async with talking_to(app_with()) as client:
        for path in ("/healthz", "/nowhere"):
            answer = await client.get(path, headers={"Origin": origin})
            told = {f"{CORS}allow-credentials": "true", f"{CORS}expose-headers": EXPOSED}
            assert named(answer) == told | ({f"{CORS}allow-origin": allowed} if allowed else {})
            assert answer.headers.get_list("vary") == ["Origin"]
            assert named(await client.get(path)) == {}


def failing_app() -> FastAPI:
    app = app_with()

    @app.get("/v1/fails")
    async def fails() -> None:
        raise RuntimeError("nobody thought of that: authCode=abc123")

    @app.get("/v1/begins")
    async def begins() -> StreamingResponse:
        async def half() -> AsyncIterator[str]:
            yield "half"
            raise RuntimeError("in the middle")

        return StreamingResponse(half())

    @app.get("/v1/refuses")
    async def refuses() -> None:
        raise NotFound

    return app


async def test_what_nobody_expected_is_a_problem_with_a_trace_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO", log_format="json")
    before = measures.ALL.standing()["partner_internal_errors_total"][()]
    async with talking_to(failing_app()) as client:
        capsys.readouterr()
        answer = await client.get("/v1/fails", headers={"Origin": OURS, "X-Request-ID": "mine-1"})
    assert answer.status_code == 500
    assert measures.ALL.standing()["partner_internal_errors_total"][()] == before + 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": f"{OURS}/problems/internal-error", "title": "Something went wrong on our side", "status": 500
    }  # fmt: skip
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["ratelimit-policy"]
    assert named(answer)[f"{CORS}allow-origin"] == OURS
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"httpx"' not in line]
    [fault] = [each for each in told if each["event"] == "internal_error"]
    assert (fault["request_id"], fault["route"], fault["level"]) == ("mine-1", "/v1/fails", "error")
    assert "RuntimeError: nobody thought of that" in fault["exception"]
    assert "abc123" not in fault["exception"]
    [request] = [each for each in told if each["event"] == "request"]
    assert (request["status"], request["request_id"], request["route"]) == (500, "mine-1", "/v1/fails")


async def test_a_fault_after_an_answer_has_begun_is_told_to_the_server_and_to_nobody_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="INFO", log_format="json")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RuntimeError, match="in the middle"):
        await failing_app()(scope_of("/v1/begins"), receive, send)
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    [request] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (request["event"], request["status"]) == ("request", 200)


def scope_of(path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Scope:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "state": {},
        "headers": [(name.lower().encode(), said.encode("latin-1")) for name, said in (headers or {}).items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 5),
    }  # fmt: skip


@asynccontextmanager
async def edge_before(app: Callable[[Scope, Receive, Send], Any]) -> AsyncIterator[httpx.AsyncClient]:
    settings = configured(
        "postgresql:///", "http://127.0.0.1:9/", OURS, frontend_origins=OURS, default_return_url=f"{OURS}/portal/"
    )
    renderer = ProblemRenderer(OURS, f"{OURS}/sso/login", (OURS,))
    async with talking_to(Edge(app, settings=settings, renderer=renderer)) as client:
        yield client


async def test_what_goes_on_when_its_request_has_returned_is_one_answer_and_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="INFO", log_format="json")

    async def streams(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-cache")]})

        async def go_on(_receive: Receive, send: Send) -> None:
            for number in range(3):
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            await send({"type": "http.response.body", "body": b"."})

        outlast(scope, go_on)

    async with edge_before(streams) as client:
        capsys.readouterr()
        answer = await client.get("/v1/order-updates")
    assert answer.text == "012."
    assert answer.headers.get_list("cache-control") == ["no-cache"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert capsys.readouterr().out.count('"event": "request"') == 1


async def test_a_problem_after_an_answer_has_begun_is_no_second_answer() -> None:
    sent: list[Message] = []

    async def begins(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise NotFound

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    configure_logging(level="INFO", log_format="json")
    settings = configured("postgresql:///", "http://127.0.0.1:9/")
    edge = Edge(begins, settings=settings, renderer=ProblemRenderer(OURS, f"{OURS}/sso/login", (OURS,)))
    with pytest.raises(NotFound):
        await edge(scope_of("/v1/orders"), receive, send)
    assert [each["type"] for each in sent] == ["http.response.start"]


# Problems of the gates.

LONG = {"X-Long": "x" * 17_000}
GATES: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "head": ("GET", "/v1/orders", LONG, b"", 431),
    "target": ("GET", f"/v1/orders?{'x' * 9_000}", {}, b"", 414),
    "length": ("POST", "/v1/orders", {}, b"x" * 70_000, 413),
    "body": ("POST", "/v1/orders", {"Content-Type": "application/json"}, b"{", 422),
    "type": ("POST", "/v1/orders", {"Content-Type": "text/plain"}, b"{}", 415),
    "session": ("GET", "/v1/orders", {}, b"", 401),
    "route": ("GET", "/v1/nowhere", {}, b"", 404),
    "method": ("PUT", "/v1/orders", {}, b"", 405),
}


@pytest.mark.parametrize("gate", GATES)
async def test_the_problem_of_each_gate_is_complete(gate: str, service: Service) -> None:
    method, path, headers, body, status = GATES[gate]
    async with httpx.AsyncClient(base_url=service.url) as client:
        request = client.build_request(method, path, content=body or None)
        request.headers.update(headers | {"Origin": service.url, "X-Request-ID": "mine.2"})
        answer = await client.send(request)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert named(answer) == {
        f"{CORS}allow-origin": service.url, f"{CORS}allow-credentials": "true", f"{CORS}expose-headers": EXPOSED
    }  # fmt: skip
    assert (answer.headers["x-request-id"], answer.headers["cache-control"]) == ("mine.2", "no-store")
    assert answer.headers["ratelimit-policy"]
    assert "ratelimit" not in answer.headers  # who is not signed in is told of nobody's


async def test_what_is_left_stands_on_each_answer_of_somebody_signed_in_problems_too(
    service: Service, broker: SimulatedBroker
) -> None:
    async with Browser(service) as asha:
        await asha.sign_in(broker)
        for path, status in (("/v1/funds", 200), ("/v1/orders/none", 404), ("/v1/session", 200), ("/v1/nowhere", 404)):
            answer = await asha.get(path)
            assert answer.status_code == status, path
            assert len(answer.headers.get_list("ratelimit-policy")) == 1
            assert ("ratelimit" in answer.headers) == (path != "/v1/nowhere"), path


# Ids and lines.


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 64])
async def test_a_callers_id_is_taken_as_it_is(given: str) -> None:
    async with talking_to(app_with()) as client:
        assert (await client.get("/healthz", headers={"X-Request-ID": given})).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 65, "a b", 'a"b', "a\\b", "a,b", "a\x7f", "\xe9", "a/b", "{}", "a\tb"]
)
async def test_an_id_that_could_forge_anything_is_replaced(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO", log_format="json")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = scope_of("/healthz", headers={"X-Request-ID": given})
    await app_with()(scope, receive, send)
    [shown] = [said.decode() for name, said in sent[0]["headers"] if name == b"x-request-id"]
    assert OWN_ID.fullmatch(shown)
    assert json.loads(capsys.readouterr().out)["request_id"] == shown


async def test_two_ids_are_none() -> None:
    async with talking_to(app_with()) as client:
        answers = [
            await client.get("/healthz", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")]) for _ in range(20)
        ]
    ids = {each.headers["x-request-id"] for each in answers}
    assert len(ids) == 20
    assert all(OWN_ID.fullmatch(each) for each in ids)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "M-SEARCH", "PROPFIND"])
@pytest.mark.parametrize(
    "path", ["/healthz", '/"quoted"', "/back\\slash", "/v1/orders/%22", "/\u2028", "/v1/placements/{x}"]
)
async def test_the_line_of_a_request_is_json_whatever_is_asked_for(
    method: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="INFO", log_format="json")

    async def send(_message: Message) -> None:
        pass

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {**scope_of("/x", method), "path": path, "raw_path": path.encode()}
    await app_with()(scope, receive, send)
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [told] = [each for each in written if each["event"] == "request"]
    assert told.keys() == {
        "method", "route", "status", "milliseconds", "broker_calls", "broker_milliseconds", "event", "request_id",
        "level", "logger", "timestamp",
    }  # fmt: skip
    assert (told["method"], told["event"], told["level"], told["logger"]) == (method, "request", "info", "access")


async def test_a_log_that_takes_nothing_any_more_costs_nobody_his_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody reads what we say, the disk is full, or the stream is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr("sys.stdout", broken)
        configure_logging(level="INFO", log_format="json")
        monkeypatch.undo()
        async with talking_to(app_with()) as client:
            assert (await client.get("/healthz")).status_code == 200
        with pytest.raises(BrokenPipeError):
            broken.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
    async with talking_to(app_with()) as client:  # by now it is closed
        assert (await client.get("/healthz")).status_code == 200
    assert "BrokenPipeError" in capsys.readouterr().err
    configure_logging(level="DEBUG", log_format="json")


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_whoever_wants_warnings_alone_gets_no_lines_of_requests_and_pays_for_none(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[logging.LogRecord] = []
    former = logging.getLogRecordFactory()

    def counting(*given: Any, **more: Any) -> logging.LogRecord:
        made.append(record := former(*given, **more))
        return record

    configure_logging(level="WARNING", log_format=log_format)
    logging.setLogRecordFactory(counting)
    try:
        async with talking_to(app_with()) as client:
            assert (await client.get("/healthz")).status_code == 200
    finally:
        logging.setLogRecordFactory(former)
        configure_logging(level="DEBUG", log_format="json")
    assert (capsys.readouterr().out, made) == ("", [])
