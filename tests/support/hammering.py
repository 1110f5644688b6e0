"""A process that asks a store of permits as often as it goes; imports little, since each begins by importing it."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from app.clock import monotonic
from app.safeguards.counting import Bucket, PermitStore
from tests.support.permits import opened_store

TASKS = 8  # in each process


def hammer(url: str, start: Bucket, buckets: Sequence[Bucket], seed: int, seconds: float) -> Counter[str]:
    """Begin when two have come to the start, and return how many calls were let through, for each key.

    Every call counts in the first bucket, in one of the next two, and in one of the others or none.
    """
    return asyncio.run(_hammer(url, start, buckets, seed, seconds))


async def _hammer(url: str, start: Bucket, buckets: Sequence[Bucket], seed: int, seconds: float) -> Counter[str]:
    granted: Counter[str] = Counter()
    async with opened_store(url) as store:
        await store.take([start])
        while (await store.look([start])).counts[0].used < 2:  # noqa: ASYNC110  # it is another process that comes
            await asyncio.sleep(0.005)
        end = monotonic() + seconds
        await asyncio.gather(*(_ask(store, buckets, seed + each, end, granted) for each in range(TASKS)))
    return granted


async def _ask(store: PermitStore, buckets: Sequence[Bucket], seed: int, end: float, granted: Counter[str]) -> None:
    chance = random.Random(seed)  # noqa: S311  # no secret
    while monotonic() < end:
        asked = [buckets[0], chance.choice(buckets[1:3]), *chance.sample(buckets[3:], chance.randint(0, 1))]
        if (await store.take(asked)).is_granted:
            granted.update(each.key for each in asked)
