"""One event is one line: nothing that a caller or the broker sends can begin another, or steer a terminal."""

import asyncio
import json
import logging

import pytest

from app.observability import configure_logging, logger
from tests.support.configured import configured
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

FORGED = '{"level": "info", "event": "sign_in", "user": "forged"}'
EVIL = [
    f"x\n{FORGED}", f"x\r\n{FORGED}", f"x\r{FORGED}", f"x\x85{FORGED}", f"x\u2028{FORGED}", f"x\x0b{FORGED}\x0c",
    "x\x1b[2J\x1b]0;forged\x07", "x\x9b31m\x08\x08", '"}\n{"event": "forged"}', "x\u202eforged", "\x00forged",
]  # fmt: skip
DANGEROUS = set("\r\x0b\x0c\x1b\x07\x08\x9b\x85\u2028\u2029\u202e\x00\x7f")


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_event_is_one_line_whatever_is_in_it(text: str, log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="DEBUG", log_format=log_format)
    told = logger("test")
    told.info("told", reason=text)
    told.info(text, number=7)
    told.info("told", many=[text, {text: text}], error=ValueError(text))
    told.info("told %s", text)
    logging.getLogger("library").warning("Said %s", text)
    written = capsys.readouterr().out
    assert written.count("\n") == 5
    assert set(written) & DANGEROUS == set()
    if log_format == "json":
        events = [json.loads(line) for line in written.splitlines()]
        assert events[0]["reason"] == text
        assert {event["level"] for event in events} == {"info", "warning"}


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_trace_forges_no_line_either(text: str, log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="DEBUG", log_format=log_format)
    try:
        _fail(text)
    except RuntimeError:
        logger("test").exception("failed")
    written = capsys.readouterr().out
    assert "RuntimeError" in written
    assert set(written) & DANGEROUS == set()
    first, *others = written.rstrip("\n").split("\n")
    assert "failed" in first
    assert all(line.startswith("  | ") for line in others)
    assert len(others) == 0 or log_format == "console"


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_request_writes_a_line_that_is_not_ours(
    log_format: str, database_url: str, broker: SimulatedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(configured(database_url, broker.url)) as service:
        capsys.readouterr()
        configure_logging(level="DEBUG", log_format=log_format)
        for path in (
            "/healthz",
            "/nowhere",
            "/v1/orders",
            "/v1/orders/x",
            "/sso/login",
            "/sso/callback",
            "/problems/x",
        ):
            await _answered(service, f"GET {path}%0d%0a{{forged}}%1b[31m?return_to=%0a{{forged}} HTTP/1.1")
            await _answered(service, f"GET {path}?x=%0d%0a{{forged}}&authCode=%0aforged&userId=%1bforged HTTP/1.1")
        await _answered(
            service, "GET /healthz HTTP/1.1", "X-Request-ID: a\x1b[31m{forged}", "User-Agent: %0aforged\x85"
        )
        await _answered(
            service, "GET /healthz HTTP/1.1", "X-Request-ID: {forged}", "X-Forwarded-For: 1.1.1.1\t{forged}"
        )
        await _answered(service, "GET /\nforged HTTP/1.1")
        await _answered(service, "FORGED\x1b /healthz HTTP/1.1")
        written = capsys.readouterr().out
    assert "/healthz" in written
    assert "forged" not in written.lower()
    assert set(written) & DANGEROUS == set()
    if log_format == "json":
        assert all(json.loads(line)["event"] for line in written.splitlines())


def _fail(text: str) -> None:
    raise RuntimeError(text)


async def _answered(service: Service, first_line: str, *headers: str) -> bytes:
    """Send bytes as they are, since no client of good manners would, and return the answer."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [first_line, "Host: x", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    answer = await reader.read()
    writer.close()
    return answer
