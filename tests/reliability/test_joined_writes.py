"""An answer's head goes out with its body in one piece, alone where nothing follows, and never later than a turn."""

import asyncio
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from app.joined_writes import JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps each piece that would go to the kernel by itself, and in which state it was left."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.ends: list[str] = []

    @override
    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    @override
    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.pieces.append(b"".join(list_of_data))

    @override
    def close(self) -> None:
        self.ends.append("closed")

    @override
    def abort(self) -> None:
        self.ends.append("aborted")

    @override
    def get_write_buffer_size(self) -> int:
        return 0


def joined() -> tuple[JoinedWrites, Wire]:
    wire = Wire()
    return JoinedWrites(wire, asyncio.get_running_loop().call_soon), wire


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_head_and_body_are_one_piece_and_what_follows_is_not_held() -> None:
    answer, wire = joined()
    answer.write(HEAD)
    assert (wire.pieces, answer.get_write_buffer_size()) == ([], len(HEAD))
    answer.write(b"body")
    answer.write(b"more")
    assert wire.pieces == [HEAD + b"body", b"more"]
    await turn()
    assert wire.pieces == [HEAD + b"body", b"more"]


async def test_a_head_alone_goes_with_the_next_turn_of_the_loop() -> None:
    """As that of a stream does, whose first event may be minutes away."""
    answer, wire = joined()
    answer.write(HEAD)
    await turn()
    assert wire.pieces == [HEAD]
    answer.write(b"event")
    assert wire.pieces == [HEAD, b"event"]


async def test_the_end_of_a_connection_takes_what_is_held_with_it_unless_it_is_cut() -> None:
    answer, wire = joined()
    answer.write(HEAD)
    answer.close()
    assert (wire.pieces, wire.ends) == ([HEAD], ["closed"])
    answer, wire = joined()
    answer.write(HEAD)
    answer.abort()
    await turn()
    assert (wire.pieces, wire.ends) == ([], ["aborted"])


pieces = st.lists(
    st.sampled_from([HEAD, b"HTTP/1.1 100 Continue\r\n\r\n", b"body", b"", b"HTTP/1.", b"x" * 70_000, None])
)


@given(pieces)
def test_whatever_is_written_arrives_in_its_order_and_once(given_pieces: list[bytes | None]) -> None:
    async def write() -> bytes:
        answer, wire = joined()
        for each in given_pieces:
            if each is None:
                await turn()
            else:
                answer.write(each)
        await turn()
        return b"".join(wire.pieces)

    assert asyncio.run(write()) == b"".join(each for each in given_pieces if each)
