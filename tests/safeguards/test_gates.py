"""What every request passes: sizes, where it came from, which headers its answer carries, and what the log keeps."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from app.safeguards.addresses import address_prefix, client_address
from tests.support.investor import Browser, signed_in, slug
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


async def test_another_site_can_not_log_anybody_out(service: Service, broker: SimulatedBroker) -> None:
    async with signed_in(service, broker) as browser:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}):
            answer = await browser.delete("/v1/session", headers=headers)
            assert (answer.status_code, slug(answer)) == (403, "cross-site-request")
        del browser.headers["Origin"]
        assert slug(await browser.delete("/v1/session")) == "cross-site-request"
        assert (await browser.get("/v1/session")).status_code == 200
        assert (await browser.delete("/v1/session", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 204


async def test_our_frontends_may_read_with_credentials_and_nobody_else(service: Service) -> None:
    async with Browser(service) as browser:
        ours = await browser.get("/v1/session", headers={"Origin": service.url})
        assert ours.headers["access-control-allow-origin"] == service.url
        assert ours.headers["access-control-allow-credentials"] == "true"
        exposed = ours.headers["access-control-expose-headers"]
        assert {"Retry-After", "X-Request-ID", "Location", "Age"} <= set(exposed.split(", "))
        theirs = await browser.get("/v1/session", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in theirs.headers
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
        preflight = await browser.options("/v1/orders", headers={"Origin": service.url, **asked})
        assert preflight.status_code == 200
        refused = await browser.options("/v1/orders", headers={"Origin": "https://evil.example", **asked})
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "path", ["/v1/session", "/sso/login", "/nowhere", "/healthz", "/problems/not-found", "/portal/"]
)
async def test_every_answer_carries_the_security_headers(service: Service, path: str) -> None:
    async with Browser(service) as browser:
        headers = (await browser.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


async def test_the_request_id_is_the_callers_where_it_is_one(service: Service) -> None:
    async with Browser(service) as browser:
        kept = await browser.get("/healthz", headers={"X-Request-ID": "abc-123_x.y"})
        made = await browser.get("/healthz", headers={"X-Request-ID": "bad id\t{}"})
    assert kept.headers["x-request-id"] == "abc-123_x.y"
    assert made.headers["x-request-id"] not in {"", "bad id\t{}"}


async def endless() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b"x" * 4096


@pytest.mark.parametrize("how", ["announced", "chunked"])
async def test_a_large_body_is_refused(service: Service, how: str) -> None:
    content = b"x" * 70_000 if how == "announced" else endless()
    async with Browser(service) as browser:
        answer = await browser.post("/v1/orders", content=content)
    assert (answer.status_code, slug(answer)) == (413, "too-large")


async def test_a_long_address_and_large_headers_are_refused(service: Service) -> None:
    async with Browser(service) as browser:
        long = await browser.get("/healthz?" + "x" * 9000)
        assert (long.status_code, slug(long)) == (414, "too-large")
        many = await browser.get("/healthz", headers={f"X-{number}": "y" * 900 for number in range(20)})
        assert (many.status_code, slug(many)) == (431, "too-large")


async def test_a_small_body_reaches_its_route(service: Service) -> None:
    async with Browser(service) as browser:
        answer = await browser.post("/v1/orders", json={"x": 1})
    assert (answer.status_code, slug(answer)) == (401, "not-signed-in")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/orders", "GET, POST, DELETE"), ("/v1/orders/1", "GET, PATCH, DELETE"), ("/v1/session", "GET, DELETE"),
     ("/v1/orders/margin", "GET, POST, PATCH, DELETE"), ("/healthz", "GET, HEAD"), ("/v1/funds", "GET")],
)  # fmt: skip
async def test_another_method_is_told_all_that_are_served(service: Service, path: str, allowed: str) -> None:
    async with Browser(service) as browser:
        answer = await browser.put(path)
    assert (answer.status_code, slug(answer)) == (405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/", "/v1/session/", "/v1//session", "/sso", "/../etc/passwd", "/%00"]
)
async def test_what_is_not_there_is_not_found_and_never_redirected(service: Service, path: str) -> None:
    async with Browser(service) as browser:
        answer = await browser.get(path, headers={"Accept": "text/html"})
    assert (answer.status_code, slug(answer)) == (404, "not-found")


async def test_problem_pages_say_what_to_do(service: Service) -> None:
    async with Browser(service) as browser:
        known = await browser.get("/problems/broker-session-expired")
        assert known.status_code == 200
        assert "never show them as empty" in known.text
        assert (await browser.get("/problems/no-such-thing")).status_code == 404


TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"), ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.1.1.1", "198.51.100.1", "198.51.100.1"), ("10.1.1.1", "6.6.6.6, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.1.1.1", "nonsense", "10.1.1.1"), ("10.1.1.1", None, "10.1.1.1"), (None, None, None), ("unix", None, None),
        ("::ffff:10.1.1.1", "198.51.100.1", "198.51.100.1"), ("fd00::1", "2001:db8::7", "2001:db8::7"),
    ],
)  # fmt: skip
def test_only_trusted_proxies_are_believed(peer: str | None, forwarded: str | None, expected: str | None) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


@pytest.mark.parametrize(
    ("address", "kept"),
    [("203.0.113.9", "203.0.113.0/24"), ("2001:db8:1:2::7", "2001:db8:1::/48"), ("junk", None), (None, None)],
)
def test_of_an_address_only_a_prefix_is_kept(address: str | None, kept: str | None) -> None:
    assert address_prefix(address) == kept


async def test_a_caller_that_goes_away_in_the_middle_harms_nobody(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with Browser(service) as browser:
        assert (await browser.get("/healthz")).status_code == 200


async def test_a_length_of_thousands_of_digits_is_too_large(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    for digits, status in (("9" * 5000, b"413"), ("0" * 3000 + "5", b"415")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: {digits}\r\n\r\nabcde".encode())
        await writer.drain()
        answered = await reader.readline()
        writer.close()
        assert status in answered or b"400" in answered


async def test_short_addresses_lead_to_the_portal(service: Service) -> None:
    async with Browser(service) as browser:
        for path in ("/", "/portal"):
            assert (await browser.get(path)).headers["location"] == "/portal/"
        assert (await browser.get("/portal/")).status_code == 200
