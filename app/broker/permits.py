"""Leave to call the broker: on whose behalf, counted by which permit, and until when."""

from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from app.limits import Demand, Permit, Urgency


@dataclass(frozen=True)
class Bearer:
    """Whose call it is, whose limits it counts against, and the token that it carries.

    What is urgent may use what is kept back of the limits: a cancel with all it needs, and a look at unknown orders;
    what is idle leaves half of them. A call for somebody who is not proven yet counts against nobody.
    """

    user_id: str
    token: SecretStr
    urgency: Urgency = Urgency.ORDINARY
    is_proven: bool = True


@dataclass(frozen=True)
class Clearance:
    """Leave for one order call: its first byte leaves before `write_by` (by `monotonic`) or none does."""

    bearer: Bearer
    permit: Permit
    write_by: float


class Meter(Protocol):
    """Who counts the calls; the safeguards do, and this package knows nothing of theirs."""

    @property
    def permit_life(self) -> float:
        """Seconds for which a permit is good."""

    async def take(self, demand: Demand) -> Permit:
        """Count one call; raises `RateLimited`, `BrokerRateLimited` and `TemporarilyUnavailable`."""

    async def pause(self, demand: Demand, told: float | None) -> float:
        """Let no such call go for `told` seconds, by default longer each time; return for how many."""
