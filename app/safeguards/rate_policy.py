"""What one call counts in: the user's windows, the app's, those of an exchange, and how much of each it may use."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from app.limits import Category, Demand, Limits, Urgency, Window
from app.safeguards.counting import ADDRESS_KEPT_FOR, ADDRESS_PREFIX, Allowance, Bucket
from app.safeguards.sparing import ADDRESS_POLICY, ADDRESS_WINDOW
from app.settings import Settings


@dataclass(frozen=True)
class Policy:
    """What is let through, as the settings have it; `guard` in seconds, `reserve` a share of a window."""

    user: Limits
    app: Limits
    orders_per_second_per_exchange: int
    reserve: Decimal
    guard: float
    sign_ins_per_address: int
    are_reads_spared: bool
    _known: dict[tuple[str, Category, Urgency], tuple[Allowance, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        return cls(
            user=settings.rate_limits_user,
            app=settings.rate_limits_app,
            orders_per_second_per_exchange=settings.orders_per_second_per_exchange,
            reserve=settings.cancel_reserve,
            guard=settings.rate_limit_guard.total_seconds(),
            sign_ins_per_address=settings.sign_in_limit_per_address,
            are_reads_spared=settings.rate_limit_store_down == "reads-pass",
        )

    def usable(self, category: Category, limit: int, urgency: Urgency) -> int:
        """Return how much of a limit may be used: all of it by what is urgent, by the rest all but what is kept back.

        The share is rounded down but at least one call, and leaves at least one for everything else. What is idle has
        half of it.
        """
        if urgency is Urgency.IDLE:
            return max(limit // 2, 1)
        if urgency is Urgency.URGENT or category is Category.DATA or not self.reserve:
            return limit
        return limit - min(max(int(limit * self.reserve), 1), limit - 1)

    def buckets(self, demand: Demand) -> list[Bucket]:
        """Return everything that one call counts in: first the app's, which all replicas lock in the same order."""
        category, found = demand.category, []
        if windows := self.app.get(category):
            found.append(self._bucket("app", windows, demand, key=f"app:{category}", is_own=False))
        if demand.user_id is None:
            return found
        found.append(self.user_bucket(demand))
        if self.orders_per_second_per_exchange:
            found += [self.exchange_bucket(demand.user_id, each, demand.urgency) for each in demand.exchanges]
        return found

    def user_bucket(self, demand: Demand) -> Bucket:
        """Return what a user's calls of a category count in, and pause in, be they limited or not."""
        windows = self.user.get(demand.category, ())
        return self._bucket("", windows, demand, key=user_key(demand.user_id or "", demand.category))

    def exchange_bucket(self, user_id: str, exchange: str, urgency: Urgency = Urgency.ORDINARY) -> Bucket:
        """Return what a user's orders at one exchange count in."""
        limit = self.orders_per_second_per_exchange
        usable = self.usable(Category.ORDER, limit, urgency)
        allowance = Allowance(f"{Category.ORDER}-{exchange}-1", 1, 1 + self.guard, limit, usable)
        return Bucket(f"user:{user_id}:{Category.ORDER}:{exchange}", (allowance,))

    def address_bucket(self, address: str) -> Bucket:
        """Return what the visits of the sign-in from an address count in."""
        limit = self.sign_ins_per_address
        allowance = Allowance(ADDRESS_POLICY, ADDRESS_WINDOW, ADDRESS_WINDOW, limit, limit)
        return Bucket(f"{ADDRESS_PREFIX}{address}", (allowance,), kept_for=ADDRESS_KEPT_FOR)

    def _bucket(
        self, owner: str, windows: Sequence[Window], demand: Demand, *, key: str, is_own: bool = True
    ) -> Bucket:
        kind = owner, demand.category, demand.urgency
        allowances = self._known.get(kind)
        if allowances is None:
            allowances = self._known[kind] = self._allowances(f"{owner}-" if owner else "", windows, demand)
        return Bucket(key, allowances, is_own=is_own)

    def _allowances(self, prefix: str, windows: Sequence[Window], demand: Demand) -> tuple[Allowance, ...]:
        return tuple(
            Allowance(
                policy=f"{prefix}{demand.category}-{each.seconds}",
                seconds=each.seconds,
                length=each.seconds + self.guard,
                limit=each.limit,
                usable=self.usable(demand.category, each.limit, demand.urgency),
            )
            for each in windows
        )


def user_key(user_id: str, category: Category) -> str:
    """Return under what a user's calls of a category are counted."""
    return f"user:{user_id}:{category}"
