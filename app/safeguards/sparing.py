"""What may still go when the store of permits is gone: a cancel, once a second and user; reads only by setting.

Each process counts for itself here, so this is the one place where a limit is not everybody's. Orders never pass.
"""

from collections import deque
from collections.abc import Callable

from app.clock import monotonic
from app.limits import Category, Demand, Urgency
from app.problems import RateLimited, TemporarilyUnavailable

ADDRESS_WINDOW = 60  # seconds in which the visits of an address are counted
ADDRESS_POLICY = "sign-in-60"
_EVERY = 1.0  # seconds
_MOST = 10_000


class Sparing:
    """One call a second for each user and category, one more that is urgent; as many sign-ins of an address as ever."""

    def __init__(
        self, *, are_reads_spared: bool, sign_ins_per_address: int, now: Callable[[], float] = monotonic
    ) -> None:
        self._now = now
        self._are_reads_spared = are_reads_spared
        self._sign_ins_per_address = sign_ins_per_address
        self._last: dict[str, float] = {}
        self._visits: dict[str, deque[float]] = {}

    def admit(self, demand: Demand) -> None:
        """Let a call go; raises `TemporarilyUnavailable` for one that may not, or not yet."""
        is_read = demand.category is not Category.ORDER
        may_pass = is_read and self._are_reads_spared and demand.urgency is not Urgency.IDLE
        if not (demand.urgency is Urgency.URGENT or may_pass):
            raise TemporarilyUnavailable("The limits can't be counted.")
        self._refuse_until_due(f"{demand.category}:{demand.user_id}:{demand.urgency}")

    def admit_address(self, address: str) -> None:
        """Let a visit of the sign-in go; raises `RateLimited`."""
        now = self._now()
        if len(self._visits) >= _MOST:
            self._visits = {name: past for name, past in self._visits.items() if now - past[-1] < ADDRESS_WINDOW}
        visits = self._visits.setdefault(address, deque(maxlen=self._sign_ins_per_address))
        if len(visits) == visits.maxlen and now - visits[0] < ADDRESS_WINDOW:
            raise RateLimited(visits[0] + ADDRESS_WINDOW - now, [ADDRESS_POLICY])
        visits.append(now)

    def _refuse_until_due(self, key: str) -> None:
        now = self._now()
        due_at = self._last.get(key, float("-inf")) + _EVERY
        if now < due_at:
            raise TemporarilyUnavailable("The limits can't be counted, so that little passes.", wait=due_at - now)
        if len(self._last) >= _MOST:
            self._last = {name: at for name, at in self._last.items() if now - at < _EVERY}
        self._last[key] = now
