"""The broker's limits at our gate: every request to the broker needs a permit, and a permit is counted before it goes.

The windows are the broker's, lengthened by the guard: a permit is good for that long, so that whatever the way to the
broker does to the gaps between two calls, he never sees more of them in a window than its limit (docs/decisions/0011).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import Never, TypeVar

from app import measures
from app.clock import monotonic
from app.limits import Category, Demand, Permit, Urgency
from app.observability import logger
from app.problems import BrokerRateLimited, RateLimited, TemporarilyUnavailable
from app.safeguards.counting import FIRST_PAUSE, FORGETFUL, Allowance, Bucket, Count, PermitStore, Tally
from app.safeguards.quotas import Quota, Standing, note
from app.safeguards.rate_policy import Policy, user_key
from app.safeguards.sparing import ADDRESS_POLICY, Sparing

T = TypeVar("T")

_log = logger("limits")

_MOST_REMEMBERED = 20_000  # users and categories whose last standing one process keeps
_PURGE_EVERY = 600.0  # seconds
_LIFE_OF_THE_GUARD = 0.6
_MOST_SPARED = 10_000
_MOST_VISITS = 2  # of the sign-in, asking the store at the same time
_FULL_FOR = 1.0  # seconds for which a full address is believed to be so
_REST = 0.5  # seconds for which a store that has failed is not asked
_NEVER = float("-inf")
_SIGN_IN = "sign-in"  # what visits of our sign-in count as; no category of the broker's


class RateLimiter:
    """One replica's way to the store of permits, which all replicas share."""

    def __init__(self, store: PermitStore, policy: Policy) -> None:
        self._store = store
        self.policy = policy
        self._sparing = Sparing(
            are_reads_spared=policy.are_reads_spared, sign_ins_per_address=policy.sign_ins_per_address
        )
        self._last: dict[tuple[str, Category], Standing] = {}
        self._asked_again_at = _NEVER
        measures.limiter_store(is_up=True)
        self._spared: deque[list[Bucket]] = deque(maxlen=_MOST_SPARED)
        self._lately: deque[tuple[float, list[Bucket]]] = deque(maxlen=_MOST_SPARED)
        self._losses = store.losses
        self._full_until: dict[str, float] = {}
        self._visits = asyncio.Semaphore(_MOST_VISITS)

    @property
    def permit_life(self) -> float:
        """Seconds for which a permit is good: most of the guard; what is left of it is for the way to the broker."""
        return self.policy.guard * _LIFE_OF_THE_GUARD

    async def take(self, demand: Demand) -> Permit:
        """Count one call, in every window or in none.

        Raises `RateLimited`, `BrokerRateLimited` during a pause that the broker asked for, and `TemporarilyUnavailable`
        where the store is gone and the call is none that may go without it.
        """
        asked_at = monotonic()
        buckets = self.policy.buckets(demand)
        if buckets:
            try:
                await self._count_spared()
                losses = self._store.losses
                tally = await self._asked(lambda: self._store.take(buckets))
            except TemporarilyUnavailable:
                self._sparing.admit(demand)
                self._spared.append(buckets)
                return Permit(demand, monotonic())  # counted here and now
            self._tell(demand, buckets, tally)
            _refuse_unless_granted(demand.category, buckets, tally)
            self._keep_in_mind(buckets, losses)
        return Permit(demand, asked_at)

    async def pause(self, demand: Demand, told: float | None) -> float:
        """Let no call of this user and category through for `told` seconds, by default longer each time.

        Returns for how many seconds from now; without a user, or without a store, it is what was told.
        """
        measures.broker_limited(demand.category)
        if demand.user_id is not None:
            key = user_key(demand.user_id, demand.category)
            try:
                paused = await self._asked(lambda: self._store.pause(key, told))
            except TemporarilyUnavailable:
                _log.warning("pause_not_stored", category=demand.category)
            else:
                _log.warning("broker_limited", category=demand.category, seconds=round(paused, 1))
                return paused
        return told or FIRST_PAUSE

    async def standing(self, user_id: str, category: Category, *, within: float = 0.0) -> Standing:
        """Return what is left to a user, from memory where that is no older than `within` seconds."""
        known = self.last_standing(user_id, category)
        if known and monotonic() - known.at <= within:
            return known
        bucket = self.policy.user_bucket(Demand(category, user_id))
        tally = await self._asked(lambda: self._store.look([bucket]))
        return self._keep(user_id, category, Standing(_quotas([bucket], tally), monotonic()))

    async def all_standings(self, user_id: str, exchanges: Sequence[str]) -> dict[str, Standing]:
        """Return what is left of each category, and of the orders a second at each exchange, by name."""
        found = {str(each): await self.standing(user_id, each) for each in Category}
        if self.policy.orders_per_second_per_exchange:
            buckets = [self.policy.exchange_bucket(user_id, each) for each in exchanges]
            tally = await self._asked(lambda: self._store.look(buckets))
            names = (f"{Category.ORDER}-{each}" for each in exchanges)
            quotas = zip(names, _quotas(buckets, tally), strict=True)
            found |= {name: Standing((each,), monotonic()) for name, each in quotas}
        return found

    def last_standing(self, user_id: str, category: Category) -> Standing | None:
        """Return what was last heard of a user's windows; other replicas may have counted since."""
        return self._last.get((user_id, category))

    async def admit_sign_in(self, address: str) -> None:
        """Count one visit of the sign-in from an address; raises `RateLimited`.

        An address that is full is remembered for a moment: a flood must not keep the store from those who trade.
        """
        left = self._full_until.get(address, 0.0) - monotonic()
        if left > 0:
            raise RateLimited(left, [ADDRESS_POLICY])
        bucket = self.policy.address_bucket(address)
        try:
            async with self._visits:
                tally = await self._asked(lambda: self._store.take([bucket]))
        except TemporarilyUnavailable:
            self._sparing.admit_address(address)
            return
        if not tally.is_granted:
            self._remember_full(address, tally.counts[0].wait)
        _refuse_unless_granted(_SIGN_IN, [bucket], tally)

    def _remember_full(self, address: str, wait: float) -> None:
        now = monotonic()
        if len(self._full_until) >= _MOST_REMEMBERED:
            self._full_until = {each: until for each, until in self._full_until.items() if until > now}
        self._full_until[address] = now + min(wait, _FULL_FOR)

    async def forgive_sign_in(self, address: str, visits: int) -> None:
        """Take visits back that ended in a session: whoever signs in is no flood, however many share his address."""
        key = self.policy.address_bucket(address).key
        try:
            for _ in range(visits):
                await self._asked(lambda: self._store.give_back(key))
        except TemporarilyUnavailable:
            _log.info("sign_in_not_forgiven")

    async def purge(self) -> int:
        """Forget what no window counts any more."""
        return await self._store.purge()

    def _keep_in_mind(self, buckets: list[Bucket], losses: int) -> None:
        """Remember a call for as long as a store that crashes could forget it; one that just has counts it again."""
        if losses != self._store.losses:
            self._spared.append(buckets)
            return
        now = monotonic()
        self._lately.append((now, buckets))
        while self._lately[0][0] < now - FORGETFUL:
            self._lately.popleft()

    async def _count_spared(self) -> None:
        """Count, late, what went out while the store was away, and once more what it may have forgotten.

        That is of before its crash, however long ago it was and however late it is seen. A bucket without windows takes
        whatever comes; what is counted twice is on the safe side.
        """
        if (losses := self._store.losses) != self._losses:
            self._losses = losses
            self._spared.extend(buckets for _, buckets in self._lately)
            self._lately.clear()
        while self._spared:
            buckets = self._spared.popleft()
            is_counted = False
            try:
                await self._asked(lambda: self._store.take([replace(each, allowances=()) for each in buckets]))  # noqa: B023  # awaited at once
                is_counted = True
            finally:
                if not is_counted:  # whoever asked may also have gone meanwhile
                    self._spared.appendleft(buckets)

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store; one that has just failed is left alone for a moment, lest everybody wait for it in turn.

        Raises `TemporarilyUnavailable`.
        """
        if monotonic() < self._asked_again_at:
            raise TemporarilyUnavailable("The limits can't be counted.")
        try:
            answer = await ask()
        except TemporarilyUnavailable:
            self._asked_again_at = monotonic() + _REST
            measures.limiter_store(is_up=False)
            raise
        if self._asked_again_at != _NEVER:
            self._asked_again_at = _NEVER
            measures.limiter_store(is_up=True)
        return answer

    def _tell(self, demand: Demand, buckets: Sequence[Bucket], tally: Tally) -> None:
        """Remember what is left, for this answer and for the next reads: of what is not urgent."""
        if demand.user_id is None:
            return
        full = [bucket for bucket, _, count in _windows(buckets, tally) if count.wait]
        if full and not any(bucket.is_own for bucket in full):
            note(demand.category, None)
        if demand.urgency is not Urgency.ORDINARY:  # it has other windows: whoever is to be told has to look
            self._last.pop((demand.user_id, demand.category), None)
            return
        standing = Standing(_quotas(buckets, tally, added=int(tally.is_granted)), monotonic())
        note(demand.category, self._keep(demand.user_id, demand.category, standing))

    def _keep(self, user_id: str, category: Category, standing: Standing) -> Standing:
        self._last.pop((user_id, category), None)
        self._last[user_id, category] = standing
        while len(self._last) > _MOST_REMEMBERED:
            del self._last[next(iter(self._last))]
        return standing


def _quotas(buckets: Sequence[Bucket], tally: Tally, *, added: int = 0) -> tuple[Quota, ...]:
    """Return the caller's own windows as he is told them, `added` calls later."""
    return tuple(
        _quota(allowance, count, count.used + added, tally.pause)
        for bucket, allowance, count in _windows(buckets, tally)
        if bucket.is_own
    )


def _quota(allowance: Allowance, count: Count, used: int, pause: float) -> Quota:
    """Return one window as a caller is told it; during a pause nothing is left before it ends."""
    return Quota(
        policy=allowance.policy,
        seconds=allowance.seconds,
        limit=allowance.limit,
        remaining=0 if pause else max(allowance.usable - used, 0),
        reset=max(count.wait, pause) if pause else count.wait or count.reset or allowance.length,
    )


def _windows(buckets: Sequence[Bucket], tally: Tally) -> Iterator[tuple[Bucket, Allowance, Count]]:
    places = [(bucket, each) for bucket in buckets for each in bucket.allowances]
    for (bucket, allowance), count in zip(places, tally.counts, strict=True):
        yield bucket, allowance, count


def _refuse_unless_granted(category: str, buckets: Sequence[Bucket], tally: Tally) -> None:
    if tally.is_granted:
        return
    full = [(bucket, each, count.wait) for bucket, each, count in _windows(buckets, tally) if count.wait]
    for bucket, each, _ in full:
        measures.limiter_refused(category, each.seconds, is_own=bucket.is_own)
    wait = max([tally.pause, *(seconds for _, _, seconds in full)])
    if tally.pause:
        raise BrokerRateLimited(headers={"Retry-After": str(max(ceil(wait), 1))})
    raise RateLimited(wait, [each.policy for _, each, _ in full], is_own=any(bucket.is_own for bucket, _, _ in full))


async def keep_purging(limiter: RateLimiter) -> Never:
    """Drop, for ever and now and then, what no window counts any more; replicas take turns by what they find."""
    while True:
        await asyncio.sleep(_PURGE_EVERY)
        try:
            if dropped := await limiter.purge():
                _log.info("permits_purged", buckets=dropped)
        except TemporarilyUnavailable:
            _log.info("permits_not_purged")
