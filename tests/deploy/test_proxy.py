"""The shipped nginx, before replicas that count what reaches them: what is repeated, passed on, and written down."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.environment import inherited
from tests.support.proxied import need_nginx, proxied, write_configuration
from tests.support.replicas import until
from workbench.children import free_port

TOKEN = "k5Yb0dH3tokenthatnobodymayread"
CODE = "VBF4V37IN3ON8XMX5IKW"


class Upstream:
    """A replica that keeps what it was sent and answers, or dies without a word."""

    def __init__(self) -> None:
        self.dies = False
        self.status = "200 OK"
        self.received: list[tuple[str, dict[str, str]]] = []
        self.port = 0

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                sent = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                await reader.readexactly(int(sent.get("content-length", "0")))
                self.received.append((head[0], sent))
                if self.dies:
                    break
                fields = "Content-Length: 2\r\nX-Request-ID: of-the-replica\r\nRetry-After: 7"
                writer.write(f"HTTP/1.1 {self.status}\r\n{fields}\r\n\r\nok".encode())
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # nginx has closed it
        writer.transport.abort()


@asynccontextmanager
async def upstreams(count: int = 2) -> AsyncIterator[list[Upstream]]:
    found = [Upstream() for _ in range(count)]
    servers = [await asyncio.start_server(each.speak, "127.0.0.1", 0) for each in found]
    for each, server in zip(found, servers, strict=True):
        each.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def before(folder: Path, *ports: int) -> AsyncIterator[httpx.AsyncClient]:
    """Give somebody who calls through nginx."""
    with proxied(folder / "nginx", ports) as url:
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield client


def test_the_shipped_configuration_is_one(tmp_path: Path) -> None:
    path = write_configuration(tmp_path, free_port(), [free_port(), free_port()])
    argv = [need_nginx(), "-t", "-p", str(tmp_path), "-c", str(path)]
    done = subprocess.run(argv, env=inherited(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    of_this_machine = "exceed open file resource limit"
    assert [each for each in done.stderr.splitlines() if "warn" in each and of_this_machine not in each] == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
async def test_what_does_something_is_sent_to_one_replica_once(tmp_path: Path, method: str) -> None:
    async with upstreams() as (one, other), before(tmp_path, one.port, other.port) as client:
        one.dies = other.dies = True
        answer = await client.request(method, "/v1/orders", content=None if method == "DELETE" else b"{}")
        assert len(one.received + other.received) == 1
        assert (one.received + other.received)[0][0] == f"{method} /v1/orders HTTP/1.1"
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["type"], answer.headers["retry-after"]) == ("/problems/temporarily-unavailable", "1")


@pytest.mark.parametrize("status", ["409 Conflict", "503 Service Unavailable", "504 Gateway Timeout"])
async def test_what_a_replica_answers_is_passed_on_as_it_is(tmp_path: Path, status: str) -> None:
    async with upstreams() as (one, other), before(tmp_path, one.port, other.port) as client:
        one.status = other.status = status
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, "/v1/orders")
            assert (answer.status_code, answer.text) == (int(status[:3]), "ok")
            assert answer.headers.get_list("retry-after") == ["7"]
        assert len(one.received + other.received) == 3


async def test_a_read_goes_to_the_next_replica(tmp_path: Path) -> None:
    async with upstreams() as (one, other), before(tmp_path, one.port, other.port) as client:
        one.dies = True
        answers = [(await client.get("/v1/funds")).status_code for _ in range(6)]
        assert answers == [200] * 6
        assert one.received


async def test_an_auth_code_is_sent_to_one_replica_once(tmp_path: Path) -> None:
    async with upstreams() as (one, other), before(tmp_path, one.port, other.port) as client:
        one.dies = other.dies = True
        answer = await client.get("/sso/callback", params={"authCode": CODE, "userId": "AB1234"})
        assert [line for line, _ in one.received + other.received] == [
            f"GET /sso/callback?authCode={CODE}&userId=AB1234 HTTP/1.1"
        ]
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_an_auth_code_that_was_not_sent_yet_goes_to_a_replica_that_is_there(tmp_path: Path) -> None:
    async with upstreams(1) as (one,), before(tmp_path, free_port(), one.port) as client:
        answers = [await client.get("/sso/callback", params={"authCode": CODE}) for _ in range(6)]
        assert [each.status_code for each in answers] == [200] * 6
        assert {line for line, _ in one.received} == {f"GET /sso/callback?authCode={CODE} HTTP/1.1"}
        assert len(one.received) == 6


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_what_was_not_sent_yet_goes_to_a_replica_that_is_there(tmp_path: Path, method: str) -> None:
    async with upstreams(1) as (one,), before(tmp_path, free_port(), one.port) as client:
        answers = [(await client.request(method, "/v1/orders", content=b"{}")).status_code for _ in range(6)]
        assert answers == [200] * 6
        assert len(one.received) == 6


async def test_a_kept_connection_carries_reads_alone(tmp_path: Path) -> None:
    """On one that has just died nobody could tell whether an order was placed."""
    async with upstreams(1) as (one,), before(tmp_path, one.port) as client:
        await client.get("/v1/funds")
        one.dies = True  # from here on a connection ends with the request that it brings
        assert (await client.post("/v1/orders", content=b"{}")).status_code == 503
        assert [line.split()[0] for line, _ in one.received] == ["GET", "POST"]


async def test_where_it_came_from_is_said_by_the_proxy_alone(tmp_path: Path) -> None:
    async with upstreams(1) as (one,), before(tmp_path, one.port) as client:
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "mine-1"}
        known = await client.post("/v1/orders", content=b"{}", headers=forged)
        strange = await client.get("/v1/funds", headers={"X-Request-ID": "no id\tat all"})
    (_, first), (_, second) = one.received
    assert first["x-forwarded-for"] == second["x-forwarded-for"] == "127.0.0.1"
    assert first["x-request-id"] == "mine-1"
    assert known.headers.get_list("x-request-id") == ["mine-1"]
    assert strange.headers["x-request-id"] == second["x-request-id"] != "no id\tat all"
    assert first["host"] == str(client.base_url).removeprefix("http://").rstrip("/")


async def test_metrics_are_not_to_be_had_and_large_bodies_go_nowhere(tmp_path: Path) -> None:
    async with upstreams(1) as (one,), before(tmp_path, one.port) as client:
        for path in ("/metrics", "/metrics/", "/./metrics", "/%6detrics"):
            assert (await client.get(f"{client.base_url}".rstrip("/") + path)).status_code == 404, path
        assert (await client.post("/v1/orders", content=b"x" * 200_000)).status_code == 413
        assert one.received == []
        assert (await client.post("/v1/orders", content=b"x" * 100_000)).status_code == 200


@pytest.mark.parametrize("is_there", [True, False])
async def test_no_log_holds_an_auth_code_or_a_webhooks_address(tmp_path: Path, *, is_there: bool) -> None:
    async with upstreams(1) as (one,), before(tmp_path, one.port if is_there else free_port()) as client:
        await client.get("/sso/callback", params={"authCode": CODE, "userId": "AB1234"})
        for path in (f"/broker/webhooks/{TOKEN}", f"/broker//webhooks/{TOKEN}", f"/%62roker/webhooks/{TOKEN}"):
            await client.post(path, content=b"{}")
        await client.get("/v1/funds", headers={"Referer": f"https://x/?authCode={CODE}"})
        shown = await until(_lines(tmp_path / "nginx" / "access.log", 5))
    told = [json.loads(line) for line in shown]
    assert [each["path"] for each in told] == ["/sso/callback", *["/broker/webhooks/"] * 3, "/v1/funds"]
    assert {each["status"] for each in told} == {"200" if is_there else "503"}
    written = "\n".join(shown) + (tmp_path / "nginx" / "errors.log").read_text("utf-8")
    assert CODE not in written
    assert TOKEN not in written


def _lines(log: Path, count: int) -> Callable[[], Awaitable[list[str] | None]]:
    def read() -> list[str]:
        return log.read_text("utf-8").splitlines() if log.exists() else []

    async def enough() -> list[str] | None:
        lines = await asyncio.to_thread(read)
        return lines if len(lines) >= count else None

    return enough
