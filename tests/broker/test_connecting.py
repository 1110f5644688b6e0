"""To which address, with whose certificate, under which name: how a line to the broker comes about."""

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from app.broker.errors import NotSent
from app.broker.line import Gone, Line
from app.broker.lines import Lines
from app.broker.transport import Transport
from app.clock import monotonic
from app.problems import BrokerFault, BrokerUnavailable
from tests.support.clock import Watch
from tests.support.meters import READ, Granting, clearance
from tests.support.wires import (
    Authority,
    Conversation,
    answer,
    never_accepting,
    on_both_loops,
    open_sockets,
    peer,
    says,
    settled,
    stays,
)

SECOND = timedelta(seconds=1)
GET = b"GET /book HTTP/1.1\r\nHost: x\r\n\r\n"
MINE = answer(b"mine")


async def at_once(is_there: Callable[[], bool]) -> None:
    if not is_there():
        raise Gone(is_unsent=True)


def lines_to(base_url: str, connect_timeout: float = 2.0, now: Callable[[], float] = monotonic) -> Lines:
    return Lines(base_url, connect_timeout, partial(Line, 10_000, frozenset()), now)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Have the machine trust it, as an operator would who has a broker of his own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    return authority


@on_both_loops
async def test_a_server_that_a_trusted_authority_has_signed_for_is_spoken_to_and_kept(trusted: Authority) -> None:
    before, names = len(open_sockets()), []
    context = trusted.server("localhost")
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async with peer(says(MINE, times=9, then=stays), host="127.0.0.1", tls=context) as far:
        lines = lines_to(f"https://localhost:{far.port}/")
        for _ in range(3):
            assert bytes((await lines.fetch(GET, at_once, is_repeatable=False)).body) == b"mine"
        assert bytes((await lines.fetch_alone(GET, at_once)).body) == b"mine"
        assert (far.connections, names) == (2, ["localhost", "localhost"])
        await lines.aclose()
    await settled(before)


@on_both_loops
async def test_an_address_may_be_what_was_signed_for(trusted: Authority) -> None:
    async with peer(says(MINE), tls=trusted.server("127.0.0.1")) as far:
        lines = lines_to(f"https://127.0.0.1:{far.port}/")
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=False)).body) == b"mine"
        await lines.aclose()


@pytest.mark.parametrize("names", [("elsewhere.example",), ("127.0.0.1",)])
@on_both_loops
async def test_a_certificate_for_somebody_else_is_none(trusted: Authority, names: tuple[str, ...]) -> None:
    before = len(open_sockets())
    async with peer(says(MINE), tls=trusted.server(*names)) as far:
        transport = Transport.open(f"https://localhost:{far.port}/", SECOND, Granting())
        with pytest.raises(BrokerUnavailable):
            await transport.send("GET", "book", demand=READ, deadline=5 * SECOND)
        await transport.aclose()
    await settled(before)


@on_both_loops
async def test_nobody_is_trusted_whom_nobody_knows(authority: Authority) -> None:
    before, heard = len(open_sockets()), []

    async def listens(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())

    async with peer(listens, tls=authority.server("localhost")) as far:
        transport = Transport.open(f"https://localhost:{far.port}/", SECOND, Granting())
        with pytest.raises(BrokerUnavailable):
            await transport.send("GET", "book", demand=READ, deadline=5 * SECOND, bearer=SecretStr("token"))
        with pytest.raises(NotSent):
            await transport.send_once(
                "POST", "order", clearance=clearance(monotonic() + 5), deadline=5 * SECOND, body={}
            )
        await transport.aclose()
    assert b"".join(heard) == b""
    await settled(before)


@on_both_loops
async def test_a_server_that_speaks_something_else_is_not_spoken_to(trusted: Authority) -> None:
    async def greets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n")

    async with peer(greets) as far:
        with pytest.raises(OSError):  # noqa: PT011  # of whichever kind: it means that there is no connection
            await lines_to(f"https://localhost:{far.port}/").fetch(GET, at_once, is_repeatable=False)


@on_both_loops
async def test_a_handshake_that_never_ends_is_no_connection(trusted: Authority) -> None:
    before = len(open_sockets())
    async with peer(stays) as far:
        with pytest.raises(Gone):
            await lines_to(f"https://localhost:{far.port}/", 0.2).fetch(GET, at_once, is_repeatable=False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lines_to(f"https://localhost:{far.port}/").fetch_alone(GET, at_once), 0.2)
    await settled(before)


@pytest.mark.parametrize("then", ["goes on", "ends", "says more"])
@on_both_loops
async def test_what_becomes_of_a_kept_line_under_tls(trusted: Authority, then: str) -> None:
    before, seen = len(open_sockets()), asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(MINE)(reader, writer)
        await seen.wait()
        if then == "says more":
            writer.write(answer(b"hers"))
        if then == "goes on":
            await says(MINE, then=stays)(reader, writer)
        elif then == "says more":
            await reader.read()

    async with peer(conversation, says(MINE, times=9, then=stays), tls=trusted.server("localhost")) as far:
        lines = lines_to(f"https://localhost:{far.port}/")
        await lines.fetch(GET, at_once, is_repeatable=False)
        [kept] = lines._kept  # noqa: SLF001  # to see inside
        seen.set()
        while then != "goes on" and kept.is_free:  # noqa: ASYNC110  # it comes over a socket
            await asyncio.sleep(0.001)
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=False)).body) == b"mine"
        assert far.connections == (1 if then == "goes on" else 2)
        await lines.aclose()
    await settled(before)


@on_both_loops
async def test_a_side_that_never_says_good_bye_holds_no_socket(trusted: Authority) -> None:
    """The end of a TLS connection wants to be confirmed; whoever does not is cut after a second."""
    before = len(open_sockets())
    context = trusted.server("localhost")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> socket.socket:
            far, _ = listening.accept()
            far.settimeout(10)
            spoken = context.wrap_socket(far, server_side=True)
            spoken.recv(1000)
            spoken.sendall(answer(b"mine", "Connection: close"))
            return spoken  # and reads no more

        speaking = asyncio.create_task(asyncio.to_thread(speak))
        lines = lines_to(f"https://localhost:{listening.getsockname()[1]}/")
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=False)).body) == b"mine"
        far = await speaking
        await settled(before + 2)  # the one that listens, and the one that it has accepted
        far.close()


# Addresses.


def resolving(*addresses: str) -> Callable[..., Any]:
    """Return what a name comes to, as a resolver would say it; it counts how often it was asked."""

    async def look_up(_host: str, port: int, **_asked: object) -> list[tuple[Any, ...]]:
        look_up.asked += 1  # type: ignore[attr-defined]  # the function's own
        found = addresses
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in found
        ]

    look_up.asked = 0  # type: ignore[attr-defined]  # the same
    return look_up


@pytest.mark.parametrize("first", ["silent", "refusing"])
@on_both_loops
async def test_where_one_address_takes_no_connection_the_next_one_does_and_is_asked_first_from_then_on(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, before = asyncio.get_running_loop(), len(open_sockets())
    look_up = resolving("127.0.0.2", "127.0.0.1")
    async with peer(says(MINE)) as far:
        if first == "silent":
            context = never_accepting("127.0.0.2", far.port)
            context.__enter__()
        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        watch = Watch()
        lines = lines_to(f"http://broker.example:{far.port}/", 0.6, watch)
        times = []
        for _ in range(3):
            began_at = loop.time()
            assert bytes((await lines.fetch_alone(GET, at_once)).body) == b"mine"
            times.append(loop.time() - began_at)
            watch.time += 40  # the second one is by the same addresses, the third by those of a new look
        monkeypatch.undo()
        if first == "silent":
            context.__exit__(None, None, None)
            assert times[0] > 0.29  # uvloop rounds
        assert max(times[1:]) < 0.2
        assert look_up.asked == 2  # type: ignore[attr-defined]  # the function's own
    await settled(before)


@on_both_loops
async def test_where_no_address_takes_a_connection_there_is_none_within_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, before = asyncio.get_running_loop(), len(open_sockets())
    with never_accepting("127.0.0.2") as port, never_accepting("127.0.0.1", port):
        monkeypatch.setattr(loop, "getaddrinfo", resolving("127.0.0.2", "127.0.0.1"))
        lines = lines_to(f"http://broker.example:{port}/", 0.4)
        began_at = loop.time()
        with pytest.raises(Gone):
            await lines.fetch(GET, at_once, is_repeatable=True)
        assert 0.3 < loop.time() - began_at < 2
        monkeypatch.undo()
    await settled(before)


@on_both_loops
async def test_many_who_connect_at_once_ask_for_the_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    look_up = resolving("127.0.0.1")

    async def slowly(*asked: Any, **more: Any) -> Any:
        await asyncio.sleep(0.05)
        return await look_up(*asked, **more)

    async with peer(says(MINE)) as far:
        monkeypatch.setattr(loop, "getaddrinfo", slowly)
        lines = lines_to(f"http://broker.example:{far.port}/")
        await asyncio.gather(*(lines.fetch_alone(GET, at_once) for _ in range(20)))
        monkeypatch.undo()
    assert look_up.asked == 1  # type: ignore[attr-defined]  # the function's own


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example"])
@on_both_loops
async def test_a_name_that_nobody_knows_is_unavailable_and_nothing_was_sent(host: str) -> None:
    transport = Transport.open(f"http://{host}:9/", SECOND, Granting())
    with pytest.raises(BrokerUnavailable):
        await transport.send("GET", "book", demand=READ, deadline=5 * SECOND)
    with pytest.raises(NotSent):
        await transport.send_once("POST", "order", clearance=clearance(monotonic() + 5), deadline=5 * SECOND, body={})
    await transport.aclose()


# What is said there.


def remembering(heard: list[bytes]) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(MINE)

    return conversation


@pytest.mark.parametrize(
    ("base_url", "path", "host"),
    [
        ("http://127.0.0.1:PORT/", "/book", "127.0.0.1:PORT"),
        ("http://127.0.0.1:PORT", "/book", "127.0.0.1:PORT"),
        ("http://127.0.0.1:PORT/od/rest/", "/od/rest/book", "127.0.0.1:PORT"),
        ("http://user:word@127.0.0.1:PORT/od", "/od/book", "127.0.0.1:PORT"),
        ("http://LocalHost:PORT/", "/book", "LocalHost:PORT"),
        ("http://[::1]:PORT/od/", "/od/book", "[::1]:PORT"),
    ],
)
@on_both_loops
async def test_a_request_names_its_path_below_the_base_url_and_its_host(base_url: str, path: str, host: str) -> None:
    heard: list[bytes] = []
    async with peer(remembering(heard), host="::1" if "[" in base_url else "127.0.0.1") as far:
        transport = Transport.open(base_url.replace("PORT", str(far.port)), SECOND, Granting())
        await transport.send("GET", "book", demand=READ, deadline=SECOND, bearer=SecretStr("token"))
        await transport.send("POST", "book", demand=READ, deadline=SECOND, body={"symbol": "ÄÖ\r\nX: y"})
        await transport.aclose()
    host = host.replace("PORT", str(far.port))
    first, second = (each.split(b"\r\n") for each in heard[:2])
    assert first[0] == f"GET {path} HTTP/1.1".encode()
    assert second[0].endswith(f"POST {path} HTTP/1.1".encode())
    assert [each for each in first if each.lower().startswith(b"host:")] == [f"Host: {host}".encode()]
    assert [each for each in first if each.lower().startswith(b"authorization:")] == [b"Authorization: Bearer token"]
    assert [each for each in second if each.lower().startswith((b"authorization:", b"x:"))] == []


@pytest.mark.parametrize(
    "token",
    [
        "a\r\nX-Evil: 1",
        "a\nb",
        "a\rb",
        "a\x00b",
        "",
        " a",
        "a ",
        "a\tb",
        "tökén",
        "\u0141",
        "\U0001f600",
        "a  b",
        "a\x7f",
    ],
)
async def test_a_token_that_no_field_can_carry_goes_nowhere(token: str) -> None:
    heard: list[bytes] = []
    async with peer(remembering(heard)) as far:
        transport = Transport.open(f"http://127.0.0.1:{far.port}/", SECOND, Granting())
        with pytest.raises(BrokerFault):
            await transport.send("GET", "book", demand=READ, deadline=SECOND, bearer=SecretStr(token))
        leave = clearance(monotonic() + 5)
        leave = type(leave)(type(leave.bearer)("AB1234", SecretStr(token)), leave.permit, leave.write_by)
        with pytest.raises(NotSent):  # certainly: an order that could not be written down as bytes is no unknown one
            await transport.send_once("POST", "order", clearance=leave, deadline=SECOND, body={})
        assert (
            await transport.send("GET", "book", demand=READ, deadline=SECOND, bearer=SecretStr("a b"))
        ).status == 200
        await transport.aclose()
    assert len(heard) == 1


async def test_a_read_over_a_dead_line_has_a_permit_of_its_own_each_time() -> None:
    async def deaf_when_kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(MINE)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")

    meter = Granting()
    async with peer(deaf_when_kept) as far:
        transport = Transport.open(f"http://127.0.0.1:{far.port}/", SECOND, meter)
        for expected in (1, 3):
            await transport.send("GET", "book", demand=READ, deadline=SECOND)
            assert len(meter.taken) == expected
        meter.refusal = BrokerUnavailable("no permit for the second time")
        with pytest.raises(BrokerUnavailable):
            await transport.send("GET", "book", demand=READ, deadline=SECOND)
        await transport.aclose()
    assert far.connections == 2
