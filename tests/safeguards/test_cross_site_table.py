"""The rule about other sites, as one table: all that a browser may say of where a request came from."""

from collections.abc import Iterator

import httpx
import pytest

from app.safeguards.cross_site import EVENT_STREAM, Provenance, is_cross_site
from tests.support.configured import configured
from tests.support.investor import slug
from tests.support.service import serving
from tests.support.simulated import SimulatedBroker

OWN, FRONTEND = "http://api.partner.co.in", "http://app.partner.co.in"
ORIGINS = {
    "absent": None, "own": OWN, "frontend": FRONTEND, "sibling": "http://blog.partner.co.in",
    "foreign": "https://evil.example", "null": "null", "empty": "", "junk": "http://app.partner.co.in/, \u00e9",
}  # fmt: skip
SITES = {
    "absent": None, "same-origin": "same-origin", "same-site": "same-site", "cross-site": "cross-site",
    "none": "none", "junk": "Same-Origin",
}  # fmt: skip

# Columns: Sec-Fetch-Site. In each cell first without a cookie, then with one: . goes on, x is refused.
TABLE = """
Origin      absent  same-origin  same-site  cross-site  none  junk
absent      .x      ..           xx         xx          ..    xx
own         ..      ..           ..         ..          ..    ..
frontend    ..      ..           ..         ..          ..    ..
sibling     xx      xx           xx         xx          xx    xx
foreign     xx      xx           xx         xx          xx    xx
null        xx      xx           xx         xx          xx    xx
empty       xx      xx           xx         xx          xx    xx
junk        xx      xx           xx         xx          xx    xx
"""
JUDGED = [
    *((method, "/v1/orders") for method in ("POST", "PATCH", "DELETE", "PUT", "TRACE", "get", "WHATEVER")),
    ("POST", "/sso/callback"), ("POST", EVENT_STREAM), ("GET", EVENT_STREAM), ("HEAD", EVENT_STREAM),
]  # fmt: skip
FREE = [
    ("GET", "/v1/orders"), ("HEAD", "/v1/orders"), ("OPTIONS", "/v1/orders"), ("GET", "/sso/callback"),
    ("OPTIONS", EVENT_STREAM), ("GET", f"{EVENT_STREAM}/"), ("GET", "/v1/order-events"),
]  # fmt: skip
Cell = tuple[str, str, bool, bool]


def cells() -> Iterator[Cell]:
    """Yield origin, site, whether there is a cookie, and whether the request is refused."""
    heading, *rows = (line.split() for line in TABLE.strip().splitlines())
    for origin, *verdicts in rows:
        for site, verdict in zip(heading[1:], verdicts, strict=True):
            for has_cookie, sign in zip((False, True), verdict, strict=True):
                yield origin, site, has_cookie, sign == "x"


def test_the_table_has_every_combination() -> None:
    assert {(origin, site, cookie) for origin, site, cookie, _ in cells()} == {
        (origin, site, cookie) for origin in ORIGINS for site in SITES for cookie in (False, True)
    }


@pytest.mark.parametrize(("method", "path"), JUDGED)
def test_whatever_acts_and_the_stream_are_judged_by_it(method: str, path: str) -> None:
    for origin, site, has_cookie, is_refused in cells():
        asked = Provenance(method, path, ORIGINS[origin], SITES[site], has_cookie)
        assert is_cross_site(asked, frozenset({OWN, FRONTEND})) is is_refused, asked


@pytest.mark.parametrize(("method", "path"), FREE)
def test_reading_is_not(method: str, path: str) -> None:
    for origin, site, has_cookie, _ in cells():
        asked = Provenance(method, path, ORIGINS[origin], SITES[site], has_cookie)
        assert not is_cross_site(asked, frozenset({OWN, FRONTEND})), asked


async def test_it_holds_over_the_wire(database_url: str, broker: SimulatedBroker) -> None:
    """With a cookie of nobody, so that what goes on ends at the next gate, and with no header of a client's own."""
    settings = configured(
        database_url, broker.url, OWN, frontend_origins=f"{OWN},{FRONTEND}", default_return_url=f"{FRONTEND}/"
    )
    async with serving(settings) as service, httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        for origin, site, has_cookie, is_refused in cells():
            sent = _headers(origin, site, has_cookie=has_cookie)
            for method, path in (("POST", "/v1/orders"), ("DELETE", "/v1/session"), ("GET", EVENT_STREAM)):
                answer = await client.request(method, path, headers=sent)
                assert (slug(answer) == "cross-site-request") is is_refused, (method, path, sent)
                assert (answer.status_code == 403) is is_refused
            read = await client.get("/v1/orders", headers=sent)
            assert (read.status_code, slug(read)) == (401, "not-signed-in")
        for path in ("/v1/order-updates?x=1", "/v1/%6frder-updates"):
            answer = await client.get(path, headers={"Cookie": "session=x"})
            assert slug(answer) == "cross-site-request"


async def test_a_header_that_is_sent_twice_is_not_the_first_one(database_url: str, broker: SimulatedBroker) -> None:
    async with serving(configured(database_url, broker.url)) as service, httpx.AsyncClient() as client:
        for name, twice in (("Origin", (service.url, "null")), ("Sec-Fetch-Site", ("none", "none"))):
            answer = await client.delete(f"{service.url}/v1/session", headers=[(name, each) for each in twice])
            assert slug(answer) == "cross-site-request"


def _headers(origin: str, site: str, *, has_cookie: bool) -> list[tuple[bytes, bytes]]:
    given = {"Origin": ORIGINS[origin], "Sec-Fetch-Site": SITES[site], "Cookie": "session=x" if has_cookie else None}
    return [(name.encode(), text.encode()) for name, text in given.items() if text is not None]
