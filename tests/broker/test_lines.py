"""Our own HTTP/1.1: each answer whole or told as broken, never another's, and no line used again that is not clean."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import Callable
from functools import partial

import pytest

from app.broker.line import Garbled, Gone, Line, Reply
from app.broker.lines import Lines
from tests.support.clock import Watch
from tests.support.wires import (
    Conversation,
    answer,
    never_accepting,
    on_both_loops,
    open_sockets,
    peer,
    resets,
    says,
    settled,
    stays,
)

LIMIT = 10_000
SILENT = frozenset({503})
GET = b"GET /book HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /book HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
MINE, HERS = answer(b"mine"), answer(b"hers")


async def at_once(is_there: Callable[[], bool]) -> None:
    """Let the bytes go, as the transport does, if there is still somebody to hear them."""
    if not is_there():
        raise Gone(is_unsent=True)


def lines_to(port: int, now: Watch | None = None, **changed: float) -> Lines:
    open_line = partial(Line, LIMIT, SILENT)
    given = {"connect_timeout": 1.0} | changed
    return Lines(f"http://127.0.0.1:{port}/", given["connect_timeout"], open_line, *([now] if now else []))


async def fetched(raw: bytes, then: Conversation | None = None, request: bytes = GET) -> Reply:
    """Return what a line makes of these bytes."""
    async with peer(says(raw, then=then)) as far:
        lines = lines_to(far.port)
        try:
            return await lines.fetch(request, at_once, is_repeatable=False)
        finally:
            await lines.aclose()


PLAIN = b'{"status":"Ok"}'
BODY = b"0123456789" * 30
WHOLE = {
    "length": answer(PLAIN),
    "chunks": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n" + PLAIN[:5] + b"\r\n%x\r\n" % len(PLAIN[5:]) + PLAIN[5:] + b"\r\n0\r\n\r\n",
    "chunks with extensions and trailers": b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n"
    b'f;name=value;quoted="a b"\r\n' + PLAIN + b"\r\n0;last\r\nDigest: none\r\nContent-Encoding: gzip\r\n\r\n",
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n"
    b"Content-Encoding: gzip\r\n\r\n" + answer(PLAIN),
    "until the end": b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n" + PLAIN,
    "until the end of HTTP/1.0": b"HTTP/1.0 200 X\r\n\r\n" + PLAIN,
    "kept by HTTP/1.0": b"HTTP/1.0 200 X\r\nConnection: keep-alive\r\nContent-Length: 15\r\n\r\n" + PLAIN,
    "without a word for the status": b"HTTP/1.1 200\r\nContent-Length: 15\r\n\r\n" + PLAIN,
    "gzip": answer(gzip.compress(PLAIN), "Content-Encoding: GZip "),
    "deflate": answer(zlib.compress(PLAIN), "Content-Encoding: deflate"),
    "deflate as some understand it": answer(zlib.compress(PLAIN, wbits=-15), "Content-Encoding: deflate"),
    "a coding of which nothing is known": answer(PLAIN, "Content-Encoding: none"),
}


@pytest.mark.parametrize("kind", WHOLE)
@on_both_loops
async def test_what_is_whole_is_taken_as_it_is(kind: str) -> None:
    reply = await fetched(WHOLE[kind])
    assert (reply.status, reply.content(LIMIT)) == (200, PLAIN)


@pytest.mark.parametrize("kind", [each for each in WHOLE if not each.startswith("until")])
async def test_it_makes_no_difference_where_an_answer_is_cut_on_its_way(kind: str) -> None:
    """Each packet is read before the next one comes."""
    raw = WHOLE[kind]
    loop = asyncio.get_running_loop()
    for cut in range(1, len(raw)):
        async with peer(stays) as far:
            _, line = await loop.create_connection(partial(Line, LIMIT, SILENT), "127.0.0.1", far.port)
            asking = asyncio.create_task(line.ask(GET))
            await asyncio.sleep(0)
            line.data_received(raw[:cut])
            assert not asking.done()
            line.data_received(raw[cut:])
            reply = await asking
            line.close()
        assert (reply.status, reply.content(LIMIT)) == (200, PLAIN), cut


@pytest.mark.parametrize("kind", WHOLE)
@on_both_loops
async def test_an_answer_may_come_byte_by_byte(kind: str) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for each in WHOLE[kind]:
            writer.write(bytes([each]))
            await writer.drain()
            await asyncio.sleep(0)

    async with peer(drip) as far:
        lines = lines_to(far.port)
        reply = await lines.fetch(GET, at_once, is_repeatable=False)
        await lines.aclose()
    assert (reply.status, reply.content(LIMIT)) == (200, PLAIN)


CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a body": b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf",
    "half a chunk": CHUNKED + b"a\r\nhalf",
    "no last chunk": CHUNKED + b"4\r\nhalf\r\n",
    "no end of the trailers": CHUNKED + b"4\r\nhalf\r\n0\r\nDigest: none\r\n",
    "no size of a chunk": CHUNKED + b"zz\r\n",
    "two lengths": b"HTTP/1.1 200 X\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhalf!",
    "a length beyond numbers": b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\nhalf",
    "a length below numbers": b"HTTP/1.1 200 X\r\nContent-Length: -4\r\n\r\nhalf",
    "a length and chunks": b"HTTP/1.1 200 X\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "a coding of the way that nobody asked for": b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip\r\n\r\nhalf",
    "a name with a blank": b"HTTP/1.1 200 X\r\nContent-Length : 4\r\n\r\nhalf",
    "a head without an end": b"HTTP/1.1 200 X\r\nX-Long: " + b"x" * 70_000,
    "a head with too much in it": b"HTTP/1.1 200 X\r\n" + b"X-Long: 0123456789\r\n" * 5_000 + b"\r\n",
    "interim answers without an end": b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000,
    "a word for the status without an end": b"HTTP/1.1 200 " + b"x" * 70_000,
    "trailers with too much in them": CHUNKED + b"0\r\n" + b"X-Long: 0123456789\r\n" * 5_000 + b"\r\n",
    "a trailer without an end": CHUNKED + b"0\r\nX-Long: " + b"x" * 200_000,
    "an extension without an end": CHUNKED + b"4;" + b"x" * 200_000,
    "a body over the limit": answer(b"x" * (LIMIT + 1)),
    "a body over the limit in chunks": CHUNKED + b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"1000\r\n" + b"x" * 4096
    + b"\r\n" + b"1000\r\n" + b"x" * 4096,
    "a body over the limit without a length": b"HTTP/1.1 200 X\r\n\r\n" + b"x" * (LIMIT + 1),
}  # fmt: skip


MAY_GO_ON = {"half a body", "half a chunk", "no last chunk", "no end of the trailers",
             "a coding of the way that nobody asked for"}  # fmt: skip
"""While the connection is there: who waits for the rest does so until his deadline."""


@pytest.mark.parametrize(
    ("kind", "then"),
    [*((kind, None) for kind in BROKEN), *((kind, stays) for kind in sorted(BROKEN.keys() - MAY_GO_ON))],
)
@on_both_loops
async def test_what_is_broken_or_too_large_is_told_as_that(kind: str, then: Conversation | None) -> None:
    before = len(open_sockets())
    with pytest.raises(Garbled):
        await fetched(BROKEN[kind], then)
    await settled(before)


ZIPPED = gzip.compress(BODY, mtime=0)
UNZIPPABLE = {
    "a bomb": gzip.compress(b"x" * 10 * LIMIT, mtime=0),
    "a bomb in another wrapper": zlib.compress(b"x" * 10 * LIMIT),
    "no check": ZIPPED[:-4],
    "half": ZIPPED[:20],
    "two": ZIPPED + ZIPPED,
    "more": ZIPPED + b"more",
    "nothing of the kind": b"no gzip",
}


@pytest.mark.parametrize("kind", UNZIPPABLE)
async def test_what_can_not_be_decompressed_to_its_end_within_bounds_is_no_answer(kind: str) -> None:
    reply = await fetched(answer(UNZIPPABLE[kind], "Content-Encoding: gzip"))
    with pytest.raises(Garbled):
        reply.content(LIMIT)


async def test_a_body_of_nothing_needs_no_wrapper() -> None:
    assert (await fetched(answer(b"", "Content-Encoding: gzip"))).content(LIMIT) == b""
    assert (await fetched(b"HTTP/1.1 204 X\r\nContent-Encoding: gzip\r\n\r\n")).content(LIMIT) == b""


async def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert len((await fetched(answer(b"x" * LIMIT))).content(LIMIT)) == LIMIT
    small = CHUNKED + b"1\r\nx\r\n" * 1_000 + b"0\r\n\r\n"
    assert (await fetched(small)).content(LIMIT) == b"x" * 1_000


async def test_another_protocol_is_no_answer_to_be_believed() -> None:
    reply = await fetched(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nmore", stays)
    assert (reply.status, bytes(reply.body)) == (101, b"")


MOMENTS: dict[str, tuple[bytes, type[Exception], bool]] = {
    "before a byte": (b"", Gone, True),
    "within the head": (b"HTTP/1.1 200 X\r\nContent", Gone, False),
    "after an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n", Gone, False),
    "after the head": (b"HTTP/1.1 200 X\r\n\r\n", Garbled, False),
    "within the body": (b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf", Garbled, False),
}


@pytest.mark.parametrize("moment", MOMENTS)
@on_both_loops
async def test_a_reset_is_never_the_end_of_an_answer(moment: str) -> None:
    said, expected, is_unanswered = MOMENTS[moment]
    go_on = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        await go_on.wait()
        await resets(reader, writer)

    async with peer(conversation) as far:
        lines = lines_to(far.port)
        line = await lines._connect()  # noqa: SLF001  # to see what has come
        asking = asyncio.create_task(line.ask(GET))
        while line._size < len(said):  # noqa: ASYNC110, SLF001  # it comes over a socket
            await asyncio.sleep(0.001)
        go_on.set()
        with pytest.raises(expected) as caught:
            await asking
        assert not line.is_free
    if isinstance(caught.value, Gone):
        assert caught.value.is_unanswered is is_unanswered


# What lies on a kept line.


@pytest.mark.parametrize("more", [HERS, b"H", b"\x00junk", b"HTTP/1.1 408 X\r\nConnection: close\r\n\r\n"])
@on_both_loops
async def test_what_comes_behind_an_answer_in_the_same_packet_closes_the_line(more: bytes) -> None:
    before = len(open_sockets())
    async with peer(says(MINE + more, then=stays), says(MINE, then=stays)) as far:
        lines = lines_to(far.port)
        for _ in range(2):
            reply = await lines.fetch(GET, at_once, is_repeatable=True)
            assert bytes(reply.body) == b"mine"
        assert far.connections == 2
        await lines.aclose()
    await settled(before)


@pytest.mark.parametrize("is_repeatable", [True, False])
@on_both_loops
async def test_what_lies_unread_on_a_kept_line_is_nobodys_answer(*, is_repeatable: bool) -> None:
    """The loop is busy while it comes, so that nobody has been told of it when the next request is to go."""
    more = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(MINE)(reader, writer)
        await more.wait()
        writer.write(HERS)
        await reader.read()

    async with peer(conversation, says(MINE, then=stays)) as far:
        lines = lines_to(far.port)
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=True)).body) == b"mine"
        [kept] = lines._kept  # noqa: SLF001  # to see inside

        async def meanwhile(is_there: Callable[[], bool]) -> None:
            more.set()
            while kept.is_free and kept.is_silent:  # noqa: ASYNC110  # it comes over a socket
                await asyncio.sleep(0)
            await at_once(is_there)

        request = GET if is_repeatable else POST
        reply = await lines.fetch(request, meanwhile, is_repeatable=is_repeatable)
        assert bytes(reply.body) == b"mine"
        assert far.connections == 2
        await lines.aclose()


async def test_bytes_that_the_loop_has_not_seen_yet_are_seen_before_the_next_request_goes() -> None:
    """Nothing of ours runs between what the other side says and the look: only the kernel knows of it."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        lines = lines_to(listening.getsockname()[1])

        async def serve() -> socket.socket:
            far, _ = await loop.sock_accept(listening)
            await loop.sock_recv(far, 1000)
            await loop.sock_sendall(far, MINE)
            return far

        serving = asyncio.create_task(serve())
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=True)).body) == b"mine"
        with await serving as first:
            first.sendall(HERS)
            serving = asyncio.create_task(serve())
            assert bytes((await lines.fetch(POST, at_once, is_repeatable=False)).body) == b"mine"
            (await serving).close()
        await lines.aclose()


@pytest.mark.parametrize("raw", [
    answer(b"mine", "Connection: close"), b"HTTP/1.0 200 X\r\nContent-Length: 4\r\n\r\nmine",
    b"HTTP/1.1 200 X\r\n\r\nmine", b"HTTP/1.1 503 X\r\nContent-Length: 1000000\r\n\r\nmine",
])  # fmt: skip
@on_both_loops
async def test_a_line_that_is_not_to_be_kept_is_not(raw: bytes) -> None:
    before = len(open_sockets())
    async with peer(says(raw)) as far:
        lines = lines_to(far.port)
        for _ in range(3):
            await lines.fetch(GET, at_once, is_repeatable=False)
        assert (far.connections, lines._kept) == (3, [])  # noqa: SLF001  # to see inside
    await settled(before)


@pytest.mark.parametrize("raw", [MINE, WHOLE["chunks with extensions and trailers"], WHOLE["kept by HTTP/1.0"],
                                 WHOLE["after interim answers"], b"HTTP/1.1 204 X\r\n\r\n"])  # fmt: skip
@on_both_loops
async def test_a_line_that_may_be_kept_is(raw: bytes) -> None:
    async with peer(says(raw, times=5, then=stays)) as far:
        lines = lines_to(far.port)
        statuses = [(await lines.fetch(POST, at_once, is_repeatable=False)).status for _ in range(5)]
        assert (far.connections, set(statuses) <= {200, 204}) == (1, True)
        await lines.aclose()


@on_both_loops
async def test_a_server_that_closes_its_half_is_not_asked_again() -> None:
    async def half(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await asyncio.sleep(5)

    async with peer(says(MINE, then=half)) as far:
        lines = lines_to(far.port)
        for _ in range(2):
            await lines.fetch(GET, at_once, is_repeatable=False)
            while lines._kept and lines._kept[0].is_free:  # noqa: ASYNC110, SLF001  # it comes over a socket
                await asyncio.sleep(0.001)
        assert far.connections == 2
        await lines.aclose()


async def deaf_when_kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer once, take another request, and go without a word."""
    await says(MINE)(reader, writer)
    await reader.readuntil(b"\r\n\r\n")


@on_both_loops
async def test_a_read_is_sent_once_more_through_the_gate_and_nothing_else_is() -> None:
    passed = 0

    async def counting(is_there: Callable[[], bool]) -> None:
        nonlocal passed
        passed += 1
        await at_once(is_there)

    async with peer(deaf_when_kept) as far:
        lines = lines_to(far.port)
        for expected in (1, 3):  # the second goes over the kept line, and then over another
            await lines.fetch(GET, counting, is_repeatable=True)
            assert passed == expected
        with pytest.raises(Gone):
            await lines.fetch(POST, counting, is_repeatable=False)
        assert (passed, far.connections) == (4, 2)
        await lines.aclose()


@on_both_loops
async def test_a_read_is_sent_no_third_time() -> None:
    async def hears_only(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with peer(deaf_when_kept, hears_only) as far:
        lines = lines_to(far.port)
        await lines.fetch(GET, at_once, is_repeatable=True)
        with pytest.raises(Gone):
            await lines.fetch(GET, at_once, is_repeatable=True)
        assert far.connections == 2


@on_both_loops
async def test_a_read_of_which_any_byte_was_answered_is_not_sent_again() -> None:
    async def half_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(MINE)(reader, writer)
        await says(b"HTTP/1.1 2")(reader, writer)

    async with peer(half_again) as far:
        lines = lines_to(far.port)
        await lines.fetch(GET, at_once, is_repeatable=True)
        with pytest.raises(Gone):
            await lines.fetch(GET, at_once, is_repeatable=True)
        assert far.connections == 1


# Who waits no more.


def hanging(said: bytes) -> Conversation:
    return says(said, then=stays)


PHASES: dict[str, Conversation] = {
    "before the answer": hanging(b""),
    "within the head": hanging(b"HTTP/1.1 200 X\r\nContent"),
    "within the body": hanging(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf"),
    "within a chunk": hanging(CHUNKED + b"a\r\nhalf"),
    "within an endless body": hanging(b"HTTP/1.1 200 X\r\n\r\nhalf"),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("is_alone", [False, True])
@on_both_loops
async def test_who_waits_no_more_leaves_nothing_behind(phase: str, *, is_alone: bool) -> None:
    before = len(open_sockets())
    async with peer(PHASES[phase], says(MINE, then=stays)) as far:
        lines = lines_to(far.port)
        asking = lines.fetch_alone(GET, at_once) if is_alone else lines.fetch(GET, at_once, is_repeatable=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.1)
        assert lines._kept == []  # noqa: SLF001  # to see inside
        assert bytes((await lines.fetch(GET, at_once, is_repeatable=False)).body) == b"mine"
        assert far.connections == 2
        await lines.aclose()
    await settled(before)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_both_loops
async def test_who_leaves_as_his_answer_comes_leaves_nothing_behind() -> None:
    """Cancelled in the very round of the loop in which it was read."""
    before = len(open_sockets())
    async with peer(says(MINE, times=3, then=stays)) as far:
        lines = lines_to(far.port)
        line = await lines._connect()  # noqa: SLF001  # to be there when its answer comes
        asking = asyncio.create_task(lines._over(line, GET, at_once, lambda: True))  # noqa: SLF001  # the same
        while line._waiting is None or not line._waiting.done():  # noqa: ASYNC110, SLF001  # it comes over a socket
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (line.is_free, lines._kept) == (False, [])  # noqa: SLF001  # the same
    await settled(before)


@on_both_loops
async def test_who_leaves_while_a_connection_is_made_leaves_nothing_behind() -> None:
    with never_accepting() as port:
        before = len(open_sockets())
        lines = lines_to(port, connect_timeout=5.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lines.fetch(GET, at_once, is_repeatable=True), 0.1)
        with pytest.raises(Gone):
            await lines_to(port, connect_timeout=0.1).fetch(GET, at_once, is_repeatable=True)
        await settled(before)


@on_both_loops
async def test_whom_the_gate_refuses_leaves_nothing_behind() -> None:
    before = len(open_sockets())

    async def refuse(_is_there: Callable[[], bool]) -> None:
        raise LookupError

    async with peer(says(MINE, times=9, then=stays)) as far:
        lines = lines_to(far.port)
        await lines.fetch(GET, at_once, is_repeatable=True)
        with pytest.raises(LookupError):
            await lines.fetch(GET, refuse, is_repeatable=True)
        with pytest.raises(LookupError):
            await lines.fetch_alone(GET, refuse)
        await lines.aclose()
    await settled(before)


# The pool.


@on_both_loops
async def test_so_many_lines_and_no_more_and_whoever_came_first_has_his_turn_first() -> None:
    go_on = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        writer.write(MINE)
        await says(MINE, times=99)(reader, writer)

    async with peer(conversation) as far:
        lines = lines_to(far.port, connect_timeout=10.0)
        served: list[int] = []

        async def fetch(number: int) -> None:
            await lines.fetch(GET, at_once, is_repeatable=True)
            served.append(number)

        asking = [asyncio.create_task(fetch(number)) for number in range(300)]
        async with asyncio.timeout(10):
            while far.connections < 256:  # noqa: ASYNC110  # they come over sockets
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert far.connections == 256
        for impatient in asking[256:260]:
            impatient.cancel()
        go_on.set()
        await asyncio.gather(*asking, return_exceptions=True)
        assert (len(served), far.connections) == (296, 256)
        assert min(served.index(late) for late in range(260, 300)) > 0
        assert [each for each in served if each >= 260] == sorted(each for each in served if each >= 260)
        assert len(lines._kept) <= 256  # noqa: SLF001  # to see inside
        await lines.aclose()


@on_both_loops
async def test_a_line_that_has_rested_too_long_is_closed_and_not_used() -> None:
    ended = asyncio.Event()

    async def until_ended(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    watch = Watch()
    async with peer(says(MINE, then=until_ended), says(MINE, times=9, then=stays)) as far:
        lines = lines_to(far.port, watch)
        await lines.fetch(GET, at_once, is_repeatable=False)
        watch.time += 14.9
        lines._sweep()  # noqa: SLF001  # its timer runs by the loop's clock
        assert len(lines._kept) == 1  # noqa: SLF001  # to see inside
        watch.time += 0.1
        await lines.fetch(GET, at_once, is_repeatable=False)
        assert far.connections == 2
        await ended.wait()
        watch.time += 15
        lines._sweep()  # noqa: SLF001  # the same
        assert lines._kept == []  # noqa: SLF001  # the same
        await lines.aclose()


@on_both_loops
async def test_what_is_under_way_when_the_pool_closes_ends_with_its_answer_and_is_not_kept() -> None:
    go_on, before = asyncio.Event(), len(open_sockets())

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        writer.write(MINE)
        await reader.read()

    async with peer(conversation) as far:
        lines = lines_to(far.port)
        asking = asyncio.create_task(lines.fetch(GET, at_once, is_repeatable=True))
        while not far.connections:  # noqa: ASYNC110  # it comes over a socket
            await asyncio.sleep(0.01)
        await lines.aclose()
        go_on.set()
        assert bytes((await asking).body) == b"mine"
        assert lines._kept == []  # noqa: SLF001  # to see inside
        await settled(before + 1)  # the peer's own
    await settled(before)


@on_both_loops
async def test_hundreds_of_broken_lines_leave_no_socket_open() -> None:
    before = len(open_sockets())
    kinds: list[Conversation] = [
        says(b""), says(b"HTTP/1.1 2"), says(MINE + HERS, then=stays), says(b"nonsense", then=stays), resets,
        says(answer(b"x" * (LIMIT + 1)), then=stays), hanging(b"HTTP/1.1 503 X\r\n\r\n"), hanging(b"HTTP/1.1"),
    ]  # fmt: skip
    async with peer(*(kinds * 20)) as far:
        lines = lines_to(far.port)

        async def fetch(number: int) -> None:
            async with asyncio.timeout(0.5):
                if number % 2:
                    await lines.fetch_alone(POST, at_once)
                else:
                    await lines.fetch(GET, at_once, is_repeatable=True)

        ends = await asyncio.gather(*(fetch(number) for number in range(120)), return_exceptions=True)
        assert {type(each) for each in ends} <= {type(None), Gone, Garbled, TimeoutError, ConnectionResetError}
        await lines.aclose()
    await settled(before)


@on_both_loops
async def test_a_line_whose_asker_has_left_is_closed_whoever_holds_it() -> None:
    loop = asyncio.get_running_loop()
    async with peer(stays) as far:
        _, line = await loop.create_connection(partial(Line, LIMIT, SILENT), "127.0.0.1", far.port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.ask(GET), 0.05)
        assert not line.is_free
        with pytest.raises(Gone):
            await line.ask(GET)
