"""Whether a request costs the same when there is more of everything: connections, sessions, rows of a book."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import asyncpg
import httpx

from benchmarks import contestants as c
from benchmarks.investors import names
from benchmarks.load import Ask
from benchmarks.measuring import Cell, Measured, measure, rows
from benchmarks.processes import connections_to
from benchmarks.report import Row
from benchmarks.stub_broker import SLOW

SOME_ROWS, MANY_ROWS = 10, 1000
SHORT_BOOK, LONG_BOOK = "BOOK010", "BOOK1000"
SLOW_BOOKS = names(SLOW, 96)
"""More than connections are wanted: the first have been answered when the last are asked."""

_APART = 0.015  # seconds between two of them
_TRIES = 3  # the first time all that is in the books is news, which takes the service longer

_STORED = 50_000
_CONNECTIONS = 64
_FRESH = {"Cache-Control": "no-cache"}
_PATIENCE = 60.0  # seconds
_WARM = 20  # reads
_PLAIN, _WIDE, _FULL = "plain", f"{_CONNECTIONS} connections", f"{_STORED:,} sessions"
_SHORT, _LONG = f"a book of {SOME_ROWS} rows", f"a book of {MANY_ROWS} rows"
_FILL = """
INSERT INTO users (id, created_at, signed_in_at)
    SELECT 'STORED' || n, now(), now() FROM generate_series(1, $N) n;
INSERT INTO sessions (id, token_hash, user_id, created_at, last_seen_at, expires_at)
    SELECT gen_random_uuid(), sha256(('t' || n)::bytea), 'STORED' || n, now(), now(), now() + interval '20 hours'
    FROM generate_series(1, $N) n;
INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at)
    SELECT 'STORED' || n, gen_random_uuid(), decode(repeat('5a', 1200), 'hex'), 'k1', now(), now() + interval '20 hours'
    FROM generate_series(1, $N) n;
"""


class Amount(NamedTuple):
    """How long each of the two is measured, and who is told of it."""

    rounds: int
    seconds: float
    tell: Callable[[str], None]


def flatness(on: c.Ground, readers: Sequence[str], amount: Amount) -> list[Row]:
    """Return the ratios of what much costs to what little costs, CPU of a request and p50 at one client."""
    on = replace(on, users=(*readers, *SLOW_BOOKS, SHORT_BOOK, LONG_BOOK))
    with ExitStack() as stack:
        plain, wide, full = (
            stack.enter_context(c.ours(on, f"{c.OURS}, {name}")) for name in (_PLAIN, _WIDE, _FULL)
        )  # fmt: skip
        asyncio.run(_fill(full.database_url))
        for server in (plain, wide, full):
            for _ in range(_WARM):
                _read(server, readers[0])
        reading = {_PLAIN: plain, _FULL: full, _WIDE: wide}  # what goes before the wide one comes after all others
        cells = [
            _cell(name, server, readers, partial(_widen, server, on.broker.port) if name == _WIDE else None)
            for name, server in reading.items()
        ]  # fmt: skip
        found = _measured(on, cells, amount)
        counted = {name: connections_to(each.pid, on.broker.port) for name, each in reading.items()}
        longest = max(_timed(plain, LONG_BOOK) for _ in range(3))  # the first writes down what it has seen
        books = [_cell(name, plain, [user], None) for name, user in ((_SHORT, SHORT_BOOK), (_LONG, LONG_BOOK))]
        _timed(plain, SHORT_BOOK)
        found |= _measured(on, books, amount._replace(seconds=max(amount.seconds, 4 * longest)))
    return compared(rows(found), counted)


def compared(measured: Sequence[Row], connections: dict[str, int]) -> list[Row]:
    """Return the ratios, those of the books for each row of them."""
    by_name = {row["server"]: row for row in measured}
    pairs = [
        (f"{connections[_WIDE]} pooled connections against {connections[_PLAIN]}", _PLAIN, _WIDE, 1.0),
        (f"{_STORED:,} stored sessions against a few", _PLAIN, _FULL, 1.0),
        (f"a row of {MANY_ROWS} against one of {SOME_ROWS}", _SHORT, _LONG, SOME_ROWS / MANY_ROWS),
    ]
    return [
        {"what": f"{what}, {shown}", "little": by_name[little][name], "much": by_name[much][name],
         "ratio": round(by_name[much][name] / by_name[little][name] * share, 2)}
        for what, little, much, share in pairs
        for name, shown in (("cpu_ms", "CPU"), ("p50_ms", "p50"))
    ]  # fmt: skip


def _measured(on: c.Ground, cells: Sequence[Cell], amount: Amount) -> Measured:
    return measure(
        cells, rounds=amount.rounds, seconds=amount.seconds, folder=on.folder, tell=amount.tell, is_warm=True
    )  # fmt: skip


def _cell(name: str, server: c.Contestant, users: Sequence[str], before: Callable[[], None] | None) -> Cell:
    ask = Ask("/v1/orders", server.of(users), headers=_FRESH)
    return Cell(name, "orders, a broker call each", 1, server.port, server.pid, ask, before)


def _read(server: c.Contestant, user: str) -> None:
    headers = {"Cookie": server.cookies[user]} | _FRESH
    url = f"http://127.0.0.1:{server.port}/v1/orders"
    httpx.get(url, headers=headers, timeout=_PATIENCE, trust_env=False).raise_for_status()


def _timed(server: c.Contestant, user: str) -> float:
    begun_at = time.perf_counter()
    _read(server, user)
    return time.perf_counter() - begun_at


def _widen(server: c.Contestant, broker_port: int) -> None:
    """Make the service keep many connections to the broker: so many books are under way at once, slow ones."""
    for _ in range(_TRIES):
        asyncio.run(_ask_at_once(server))
        if connections_to(server.pid, broker_port) >= _CONNECTIONS:
            return


async def _ask_at_once(server: c.Contestant) -> None:
    url, many = f"http://127.0.0.1:{server.port}/v1/orders", httpx.Limits(max_connections=len(SLOW_BOOKS))
    async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False, limits=many, headers=_FRESH) as client:

        async def ask(number: int, cookie: str) -> None:
            await asyncio.sleep(number * _APART)
            await client.get(url, headers={"Cookie": cookie})

        await asyncio.gather(*(ask(*each) for each in enumerate(server.of(SLOW_BOOKS))))


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL.replace("$N", str(_STORED)))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
