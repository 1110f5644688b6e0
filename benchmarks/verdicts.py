"""Whether the goals are met (issue "Speed"), from the figures of one run alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks import contestants as c
from benchmarks.measuring import find
from benchmarks.report import Row

ORDERS, SHARED, SESSION = "orders, a broker call each", "orders, shared", "session"
WHOLE, PLACE = "orders, whole rows", "place an order"
BROKER = "the stand-in broker itself"
MANY = 16
"""Clients, where there are several."""

_MEBI_A_MEGA = 1.048576
_MILLION = 1_000_000


class Goal(NamedTuple):
    """What is wanted, how much of it, and whether that is the least or the most."""

    name: str
    least: float | None = None
    most: float | None = None

    def judged(self, value: float | None) -> Row:
        """Return the verdict about a figure; one that was not measured is neither met nor missed."""
        wanted = f">= {self.least}" if self.least is not None else f"<= {self.most}"
        shown = None if value is None else round(value, 2)
        return {"goal": self.name, "wanted": wanted, "measured": shown, "verdict": self._verdict(shown)}

    def _verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        is_met = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        return "met" if is_met else "not met"


class Figures(NamedTuple):
    """The rows that a run has found."""

    speed: Sequence[Row]
    memory: Sequence[Row] = ()
    instructions: Sequence[Row] = ()
    flatness: Sequence[Row] = ()


def verdicts(figures: Figures) -> list[Row]:
    """Return what became of each goal."""
    speed, ours = figures.speed, c.OURS
    rate_of_ours, shared_of_ours = _rate(speed, ours, ORDERS), _rate(speed, ours, SHARED)
    judged = [
        Goal("orders, rate / the obvious design's", least=10).judged(
            _ratio(rate_of_ours, _rate(speed, c.OBVIOUS, ORDERS))
        ),
        Goal("orders, rate / Fastify's", least=0.7).judged(_ratio(rate_of_ours, _rate(speed, c.FASTIFY, ORDERS))),
        Goal("orders shared, rate / Fastify's with answers kept", least=1.5).judged(
            _ratio(shared_of_ours, _rate(speed, c.FASTIFY_KEEPING, SHARED))
        ),
        Goal("orders, added p50 at 1 client / Fastify's", most=1.5).judged(
            _ratio(added(speed, ours), added(speed, c.FASTIFY))
        ),
        *(
            Goal(f"{what}, p99 / p50 at {MANY} clients", most=2.5).judged(_field(speed, ours, what, "p99/p50"))
            for what in (ORDERS, SHARED, SESSION)
        ),
        *(
            Goal(f"{what}, million instructions", most=most).judged(_instructions(figures.instructions, ours, what))
            for what, most in ((ORDERS, 1.3), (SHARED, 0.5))
        ),
        Goal("memory of one worker, MB", most=80).judged(_memory(figures.memory, ours)),
    ]
    return judged + [Goal(row["what"], most=1.2).judged(row["ratio"]) for row in figures.flatness]


def added(speed: Iterable[Row], server: str) -> float | None:
    """Return what a server adds to the broker's own p50 at one client, in ms."""
    rows = list(speed)
    own, direct = _field(rows, server, ORDERS, "p50_ms", 1), _field(rows, BROKER, ORDERS, "p50_ms", 1)
    return None if own is None or direct is None else own - direct


def ratios(speed: Sequence[Row]) -> list[Row]:
    """Return ours against each rival in everything that both were measured in; above 1 ours is the faster."""
    found = []
    for row in speed:
        mine = find(speed, c.OURS, row["what"], row["clients"])
        if mine and row["server"] not in {c.OURS, BROKER}:
            found.append({
                "what": row["what"], "clients": row["clients"], "ours /": row["server"],
                "rate": _rounded(_ratio(mine["per_second"], row["per_second"])),
                "p50": _rounded(_ratio(row["p50_ms"], mine["p50_ms"])),
                "cpu": _rounded(_ratio(row["cpu_ms"], mine["cpu_ms"])),
            })  # fmt: skip
    return found


def _field(
    rows: Iterable[Mapping[str, object]], server: str, what: str, name: str, clients: int = MANY
) -> float | None:
    row = find(rows, server, what, clients)
    return None if row is None else row[name]


def _rate(rows: Iterable[Mapping[str, object]], server: str, what: str) -> float | None:
    return _field(rows, server, what, "per_second")


def _instructions(rows: Iterable[Row], server: str, what: str) -> float | None:
    found = next((row for row in rows if (row["server"], row["what"]) == (server, what)), None)
    return None if found is None else found["instructions"] / _MILLION


def _memory(rows: Iterable[Row], server: str) -> float | None:
    return next((row["rss_mib"] * _MEBI_A_MEGA for row in rows if row["server"] == server), None)


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
