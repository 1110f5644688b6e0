"""The broker's limits at our gate: every request to the broker needs a permit, and a permit is counted before it goes.

The windows are the broker's, lengthened by the guard: a permit is good for that long, so that whatever the way to the
broker does to the gaps between two calls, he never sees more of them in a window than its limit (docs/decisions/0011).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil
from typing import Never

from app.clock import monotonic
from app.limits import Category, Demand, Limits, Permit, Window
from app.observability import logger
from app.problems import BrokerRateLimited, RateLimited, TemporarilyUnavailable
from app.safeguards.counting import Allowance, Bucket, Count, PermitStore, Tally
from app.safeguards.quotas import Quota, Standing, note
from app.safeguards.sparing import ADDRESS_POLICY, ADDRESS_WINDOW, Sparing
from app.settings import Settings

_log = logger("limits")

_MOST_REMEMBERED = 20_000  # users and categories whose last standing one process keeps
_PURGE_EVERY = 600.0  # seconds


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

    def usable(self, category: Category, limit: int, *, is_urgent: bool) -> int:
        """Return how much of a limit may be used: all of it by what is urgent, by the rest all but what is kept back.

        The share is rounded down but at least one call, and leaves at least one for everything else.
        """
        if is_urgent or category is Category.DATA or not self.reserve:
            return limit
        return limit - min(max(int(limit * self.reserve), 1), limit - 1)

    def buckets(self, demand: Demand) -> list[Bucket]:
        """Return everything that one call counts in: first the app's, which all replicas lock in the same order."""
        category, found = demand.category, []
        if windows := self.app.get(category):
            found.append(self._bucket("app", windows, demand, key=f"app:{category}", is_own=False))
        if demand.user_id is None:
            return found
        if windows := self.user.get(category):
            found.append(self._bucket("", windows, demand, key=f"user:{demand.user_id}:{category}"))
        if demand.exchange and self.orders_per_second_per_exchange:
            found.append(self.exchange_bucket(demand.user_id, demand.exchange, is_urgent=demand.is_urgent))
        return found

    def exchange_bucket(self, user_id: str, exchange: str, *, is_urgent: bool = False) -> Bucket:
        """Return what a user's orders at one exchange count in."""
        limit = self.orders_per_second_per_exchange
        usable = self.usable(Category.ORDER, limit, is_urgent=is_urgent)
        allowance = Allowance(f"{Category.ORDER}-{exchange}-1", 1, 1 + self.guard, limit, usable)
        return Bucket(f"user:{user_id}:{Category.ORDER}:{exchange}", (allowance,))

    def _bucket(
        self, owner: str, windows: Sequence[Window], demand: Demand, *, key: str, is_own: bool = True
    ) -> Bucket:
        prefix = f"{owner}-" if owner else ""
        allowances = tuple(
            Allowance(
                policy=f"{prefix}{demand.category}-{each.seconds}",
                seconds=each.seconds,
                length=each.seconds + self.guard,
                limit=each.limit,
                usable=self.usable(demand.category, each.limit, is_urgent=demand.is_urgent),
            )
            for each in windows
        )
        return Bucket(key, allowances, is_own=is_own)


class RateLimiter:
    """One replica's way to the store of permits, which all replicas share."""

    def __init__(self, store: PermitStore, policy: Policy) -> None:
        self._store = store
        self.policy = policy
        self._sparing = Sparing(
            are_reads_spared=policy.are_reads_spared, sign_ins_per_address=policy.sign_ins_per_address
        )
        self._last: dict[tuple[str, Category], Standing] = {}

    @property
    def guard(self) -> float:
        """Seconds for which a permit is good."""
        return self.policy.guard

    async def take(self, demand: Demand) -> Permit:
        """Count one call, in every window or in none.

        Raises `RateLimited`, `BrokerRateLimited` during a pause that the broker asked for, and `TemporarilyUnavailable`
        where the store is gone and the call is none that may go without it.
        """
        asked_at = monotonic()
        buckets = self.policy.buckets(demand)
        if buckets:
            try:
                tally = await self._store.take(buckets)
            except TemporarilyUnavailable:
                self._sparing.admit(demand)
                return Permit(demand, monotonic())  # counted here and now
            else:
                self._remember(demand, buckets, tally)
                _refuse_unless_granted(buckets, tally)
        return Permit(demand, asked_at)

    async def pause(self, demand: Demand, told: float | None) -> float:
        """Let no call of this user and category through for `told` seconds, by default longer each time.

        Returns for how many seconds from now; without a user, or without a store, it is what was told.
        """
        if demand.user_id is not None:
            try:
                paused = await self._store.pause(f"user:{demand.user_id}:{demand.category}", told)
            except TemporarilyUnavailable:
                _log.warning("pause_not_stored", category=demand.category)
            else:
                _log.warning("broker_limited", category=demand.category, seconds=round(paused, 1))
                return paused
        return told or 1.0

    async def standing(self, user_id: str, category: Category, *, within: float = 0.0) -> Standing:
        """Return what is left to a user, from memory where that is no older than `within` seconds."""
        known = self.last_standing(user_id, category)
        if known and monotonic() - known.at <= within:
            return known
        demand = Demand(category, user_id)
        buckets = [each for each in self.policy.buckets(demand) if each.is_own]
        tally = await self._store.look(buckets)
        return self._remember(demand, buckets, tally, is_counted=False)

    async def exchange_standings(self, user_id: str, exchanges: Sequence[str]) -> list[Standing]:
        """Return what is left of the orders a second at each exchange; nothing where that is not limited."""
        if not self.policy.orders_per_second_per_exchange:
            return []
        buckets = [self.policy.exchange_bucket(user_id, each) for each in exchanges]
        tally = await self._store.look(buckets)
        return [
            Standing((_quota(allowance, count, count.used, tally.pause),), monotonic())
            for _, allowance, count in _windows(buckets, tally)
        ]

    def last_standing(self, user_id: str, category: Category) -> Standing | None:
        """Return what was last heard of a user's windows; other replicas may have counted since."""
        return self._last.get((user_id, category))

    async def admit_sign_in(self, address: str) -> None:
        """Count one visit of the sign-in from an address; raises `RateLimited`."""
        bucket = self._address_bucket(address)
        try:
            tally = await self._store.take([bucket])
        except TemporarilyUnavailable:
            self._sparing.admit_address(address)
        else:
            _refuse_unless_granted([bucket], tally)

    async def forgive_sign_in(self, address: str, visits: int) -> None:
        """Take visits back that ended in a session: whoever signs in is no flood, however many share his address."""
        try:
            for _ in range(visits):
                await self._store.give_back(self._address_bucket(address).key)
        except TemporarilyUnavailable:
            _log.info("sign_in_not_forgiven")

    async def purge(self) -> int:
        """Forget what no window counts any more."""
        return await self._store.purge()

    def _address_bucket(self, address: str) -> Bucket:
        limit = self.policy.sign_ins_per_address
        return Bucket(
            f"address:{address}",
            (Allowance(ADDRESS_POLICY, ADDRESS_WINDOW, ADDRESS_WINDOW, limit, limit),),
            is_own=False,
        )

    def _remember(
        self, demand: Demand, buckets: Sequence[Bucket], tally: Tally, *, is_counted: bool = True
    ) -> Standing:
        added = 1 if tally.is_granted and is_counted else 0
        windows = list(_windows(buckets, tally))
        quotas = tuple(
            _quota(self._for_everything(demand.category, each), count, count.used + added, tally.pause)
            for bucket, each, count in windows
            if bucket.is_own
        )
        stopped_by = [bucket for bucket, _, count in windows if count.wait]
        is_told = not stopped_by or any(bucket.is_own for bucket in stopped_by)
        standing = Standing(quotas, monotonic())
        if demand.user_id is not None:
            self._keep(demand.user_id, demand.category, standing)
            note(demand.category, standing if is_told else None)
        return standing

    def _for_everything(self, category: Category, allowance: Allowance) -> Allowance:
        """Return a window as it is for what is not urgent: what is told to a caller is what he may place and read."""
        return replace(allowance, usable=self.policy.usable(category, allowance.limit, is_urgent=False))

    def _keep(self, user_id: str, category: Category, standing: Standing) -> None:
        self._last.pop((user_id, category), None)
        self._last[user_id, category] = standing
        while len(self._last) > _MOST_REMEMBERED:
            del self._last[next(iter(self._last))]


def _quota(allowance: Allowance, count: Count, used: int, pause: float) -> Quota:
    """Return one window as a caller is told it; during a pause nothing is left before it ends."""
    return Quota(
        policy=allowance.policy,
        seconds=allowance.seconds,
        limit=allowance.limit,
        remaining=0 if pause else max(allowance.usable - used, 0),
        reset=max(count.wait or count.reset or allowance.length, pause),
    )


def _windows(buckets: Sequence[Bucket], tally: Tally) -> Iterator[tuple[Bucket, Allowance, Count]]:
    places = [(bucket, each) for bucket in buckets for each in bucket.allowances]
    for (bucket, allowance), count in zip(places, tally.counts, strict=True):
        yield bucket, allowance, count


def _refuse_unless_granted(buckets: Sequence[Bucket], tally: Tally) -> None:
    if tally.is_granted:
        return
    full = [(each, count.wait) for _, each, count in _windows(buckets, tally) if count.wait]
    wait = max([tally.pause, *(seconds for _, seconds in full)])
    if tally.pause:
        raise BrokerRateLimited(headers={"Retry-After": str(max(ceil(wait), 1))})
    raise RateLimited(wait, [each.policy for each, _ in full])


async def keep_purging(limiter: RateLimiter) -> Never:
    """Drop, for ever and now and then, what no window counts any more; replicas take turns by what they find."""
    while True:
        await asyncio.sleep(_PURGE_EVERY)
        try:
            if dropped := await limiter.purge():
                _log.info("permits_purged", buckets=dropped)
        except TemporarilyUnavailable:
            _log.info("permits_not_purged")
