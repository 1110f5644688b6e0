"""The running app keeps to its own description, whatever it is sent, by a stranger and by an investor."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.investor import signed_in
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker

_PROGRAM = Path(sys.executable).with_name("schemathesis")
_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "missing_required_header", "negative_data_rejection",
)  # fmt: skip
# Left out: `positive_data_acceptance`, since no schema says all the rules of a price; `allow_header_conformance`, since
# GET and DELETE /v1/orders/margin are served, as the order named `margin`; `ignored_auth`, since a cookie that is given
# for the whole run is never left out: the stranger's run is what tells.
_ENDS_SESSIONS = "^/v1/sessions?"
_LASTS = "^/v1/order-updates"  # an investor's stream has no end that a test could wait for


async def description_of(service: Service) -> dict[str, Any]:
    """Return the app's own description without `default`, which would document every answer there can be."""
    async with httpx.AsyncClient(base_url=service.url) as client:
        described: dict[str, Any] = (await client.get("/openapi.json")).json()
    for operations in described["paths"].values():
        for operation in operations.values():
            del operation["responses"]["default"]
    return described


async def try_out(service: Service, described: dict[str, Any], folder: Path, *options: str) -> None:
    """Send what the description allows and what it does not, and fail with what was wrong with the answers."""
    (folder / "openapi.json").write_text(json.dumps(described), "utf-8")
    running = await asyncio.create_subprocess_exec(
        _PROGRAM, "run", "openapi.json", "--url", service.url, "--header", f"Origin: {service.url}",
        "--checks", ",".join(_CHECKS), "--generation-deterministic",
        "--warnings", "off", "--no-color", *options,
        cwd=folder, env={"HOME": str(folder), "PATH": "", "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await running.communicate())[0].decode()
    tried = re.search(r"Tested: (\d+)", said)
    assert tried, said
    assert tried[1] != "0", said
    if running.returncode != 0:
        pytest.fail(said, pytrace=False)


@pytest.fixture(params=["briefly", pytest.param("at length", marks=pytest.mark.drill)])
def effort(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Give how hard to try: some examples of everything, or every corner of each schema and many examples."""
    if request.param == "briefly":
        return ("--phases", "fuzzing", "--max-examples", "8")
    return ("--phases", "coverage,fuzzing", "--max-examples", "40")


async def test_a_stranger_is_answered_as_described(service: Service, tmp_path: Path, effort: tuple[str, ...]) -> None:
    described = await description_of(service)
    described["components"]["securitySchemes"]["session"]["name"] = "session"  # as it says: so named in development
    await try_out(service, described, tmp_path, *effort)


async def test_an_investor_is_answered_as_described(
    service: Service, broker: SimulatedBroker, tmp_path: Path, effort: tuple[str, ...]
) -> None:
    described = await description_of(service)
    for operations in described["paths"].values():  # or the cookie that is always sent would count as left out
        for operation in operations.values():
            operation.pop("security", None)
    async with signed_in(service, broker) as browser:
        investor = ("--header", f"Cookie: session={browser.cookies['session']}", *effort)
        lasting = ("--exclude-path-regex", f"{_ENDS_SESSIONS}|{_LASTS}")
        await try_out(service, described, tmp_path, *investor, *lasting)
        assert (await browser.get("/v1/session")).status_code == 200
        ending = ("--include-path-regex", _ENDS_SESSIONS)  # the last, since whatever follows is a stranger's
        await try_out(service, described, tmp_path, *investor, *ending)
