"""Meters for the wire alone: one that grants everything, and counts what it was asked for."""

from pydantic import SecretStr
from typing_extensions import override

from app.broker.permits import Bearer, Clearance, Meter
from app.clock import monotonic
from app.limits import Category, Demand, Permit
from app.problems import Problem

ORDER = Demand(Category.ORDER, "AB1234")
READ = Demand(Category.NON_TRADING, "AB1234")
BEARER = Bearer("AB1234", SecretStr("token"))


class Granting(Meter):
    """Grants every call, after `refusal` none; a permit is `age` seconds old when it is given."""

    def __init__(self, *, permit_life: float = 0.25, age: float = 0.0) -> None:
        self._permit_life = permit_life
        self.age = age
        self.refusal: Problem | None = None
        self.taken: list[Demand] = []
        self.paused: list[tuple[Demand, float | None]] = []

    @property
    @override
    def permit_life(self) -> float:
        return self._permit_life

    @override
    async def take(self, demand: Demand) -> Permit:
        if self.refusal:
            raise self.refusal
        self.taken.append(demand)
        return Permit(demand, monotonic() - self.age)

    @override
    async def pause(self, demand: Demand, told: float | None) -> float:
        self.paused.append((demand, told))
        return told or 5.0


def clearance(write_by: float, age: float = 0.0) -> Clearance:
    """Return leave for one order call, by a permit that is so many seconds old."""
    return Clearance(BEARER, Permit(ORDER, monotonic() - age), write_by)
