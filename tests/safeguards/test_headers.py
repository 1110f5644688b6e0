"""Every answer of every route carries the headers that keep it where it belongs, whatever the answer is."""

import re
from collections.abc import Iterable, Iterator

import httpx
import pytest
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.middleware import Edge
from app.rendering import ProblemRenderer
from app.settings import Settings
from tests.support.configured import configured
from tests.support.production import FRONTEND, PUBLIC, production
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker

FOREIGN = "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "DELETE"}
WAYS: list[dict[str, str]] = [
    {}, {"Origin": FRONTEND}, {"Origin": FOREIGN}, {"Cookie": "__Host-session=x; session=x"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site", "Accept": "text/html"},
]  # fmt: skip
ASKED = [
    *(("GET", headers) for headers in WAYS),
    *((method, {}) for method in ("HEAD", "POST", "PATCH", "DELETE", "OPTIONS")),
    ("POST", {"Origin": FOREIGN}), *(("OPTIONS", {"Origin": origin} | PREFLIGHT) for origin in (FRONTEND, FOREIGN)),
]  # fmt: skip
ODD = [
    "/nowhere",
    "/v1/",
    "/docs/files/nothing.js",
    "/portal/nothing.js",
    f"/healthz?{'x' * 9000}",
    "/problems/none",
    "/%00",
]


def paths_of(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Yield an address of each route, also of those that stand in a router within."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from paths_of(inner.routes)
        else:
            yield re.sub(r"\{[^}]*\}", "none", getattr(route, "path", "/"))


def judge(answer: httpx.Response, *, is_production: bool) -> None:
    given, where = answer.headers, f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
    assert given["x-content-type-options"] == "nosniff", where
    assert given["x-frame-options"] == "DENY", where
    assert "default-src 'none'" in given["content-security-policy"], where
    assert "frame-ancestors 'none'" in given["content-security-policy"], where
    assert given["referrer-policy"] in {"no-referrer", "same-origin"}, where
    assert given["cross-origin-opener-policy"] == "same-origin", where
    assert given["cross-origin-resource-policy"] == "same-site", where
    assert given["cache-control"] == "no-store", where
    assert given.get("strict-transport-security") == ("max-age=63072000" if is_production else None), where
    assert given["x-request-id"], where
    assert "server" not in given, where
    assert given.get("access-control-allow-origin") in {None, FRONTEND, PUBLIC}, where
    for name in ("content-security-policy", "x-frame-options", "x-content-type-options"):
        assert len(given.get_list(name)) == 1, where


@pytest.mark.parametrize("is_production", [True, False])
async def test_every_answer_of_every_route(database_url: str, broker: SimulatedBroker, is_production: bool) -> None:
    settings = _settings(database_url, broker.url, is_production=is_production)
    paths = {*paths_of(create_app(settings).routes), *ODD, "/docs/files/swagger-ui.css"}
    assert {"/", "/portal"} <= paths or is_production
    assert {
        "/v1/orders",
        "/v1/sessions/none",
        "/sso/login",
        "/healthz",
        "/problems/none",
        "/docs",
        "/openapi.json",
    } <= paths
    statuses = set()
    async with serving(settings) as service, httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        for path in sorted(paths):
            for method, headers in ASKED:
                answer = await client.request(method, path, headers=headers)
                judge(answer, is_production=is_production)
                statuses.add(answer.status_code)
        judge(await client.post("/v1/orders", content=b"x" * 70_000), is_production=is_production)
        judge(await client.get("/healthz", headers={"X-Long": "x" * 17_000}), is_production=is_production)
    assert {200, 303, 400, 401, 403, 404, 405, 414} <= statuses


@pytest.mark.parametrize("is_production", [True, False])
@pytest.mark.parametrize("path", ["/v1/orders", "/sso/login", "/healthz", "/nowhere"])
async def test_what_nobody_expected_carries_them_too(database_url: str, path: str, is_production: bool) -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError

    settings = _settings(database_url, "http://127.0.0.1:9", is_production=is_production)
    app = Edge(failing, settings=settings, renderer=ProblemRenderer(PUBLIC, f"{PUBLIC}/sso/login", (PUBLIC,)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=True), base_url=PUBLIC
    ) as client:
        answer = await client.get(path, headers={"Origin": FRONTEND, "X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.json()["type"] == f"{PUBLIC}/problems/internal-error"
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert answer.headers["x-request-id"] == "mine"
    judge(answer, is_production=is_production)


def _settings(database_url: str, broker_url: str, *, is_production: bool) -> Settings:
    if is_production:
        return production(database_url, f"{broker_url}/", docs_enabled=True)
    there = {"frontend_origins": f"{FRONTEND},{PUBLIC}", "default_return_url": f"{FRONTEND}/"}
    return configured(database_url, broker_url, PUBLIC, **there)
