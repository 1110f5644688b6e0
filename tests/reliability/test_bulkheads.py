"""A room for so many calls at a time, a short line before it, and a refusal that comes soon."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.broker.bulkheads import Bulkhead
from app.broker.paths import RouteClass
from app.limits import Urgency
from app.problems import TemporarilyUnavailable

ORDINARY, IDLE = Urgency.ORDINARY, Urgency.IDLE
NEVER = 60.0  # seconds; what waits so long fails the test


async def come_in(bulkhead: Bulkhead, stack: AsyncExitStack, urgency: Urgency = ORDINARY) -> None:
    await stack.enter_async_context(bulkhead.place(RouteClass.BOOKS, urgency))


async def filled(bulkhead: Bulkhead, stack: AsyncExitStack, calls: int) -> None:
    for _ in range(calls):
        await come_in(bulkhead, stack)


async def waiting_for(bulkhead: Bulkhead, stack: AsyncExitStack) -> asyncio.Task[None]:
    task = asyncio.create_task(come_in(bulkhead, stack))
    await asyncio.sleep(0)  # a turn of the loop: it stands in the line now
    return task


async def test_who_finds_no_room_gets_the_first_place_that_is_left() -> None:
    bulkhead = Bulkhead(2, wait=NEVER)
    async with AsyncExitStack() as others:
        async with AsyncExitStack() as first:
            await filled(bulkhead, first, 2)
            late = await waiting_for(bulkhead, others)
            assert not late.done()
        await late


async def test_who_waits_too_long_is_refused_with_a_time_to_come_again() -> None:
    bulkhead = Bulkhead(1, wait=0.02)
    async with AsyncExitStack() as stack:
        await filled(bulkhead, stack, 1)
        with pytest.raises(TemporarilyUnavailable) as refusal:
            await come_in(bulkhead, stack)
    assert refusal.value.headers == {"Retry-After": "1"}
    async with AsyncExitStack() as stack:
        await filled(bulkhead, stack, 1)  # whoever was refused has taken nothing with him


async def test_the_line_is_no_longer_than_the_room() -> None:
    bulkhead = Bulkhead(2, wait=NEVER)
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as first:
            await filled(bulkhead, first, 2)
            line = [await waiting_for(bulkhead, stack) for _ in range(2)]
            with pytest.raises(TemporarilyUnavailable):
                await come_in(bulkhead, stack)
        await asyncio.gather(*line)


async def test_who_leaves_the_line_leaves_his_place_in_it() -> None:
    bulkhead = Bulkhead(1, wait=NEVER)
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as first:
            await filled(bulkhead, first, 1)
            gone = await waiting_for(bulkhead, stack)
            gone.cancel()
            await asyncio.wait([gone])
            late = await waiting_for(bulkhead, stack)
            assert not late.done()
        await late


async def test_what_is_idle_takes_half_and_never_waits() -> None:
    bulkhead = Bulkhead(4, wait=NEVER)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await come_in(bulkhead, stack, IDLE)
        with pytest.raises(TemporarilyUnavailable):
            await come_in(bulkhead, stack, IDLE)
        await filled(bulkhead, stack, 2)


async def test_a_call_that_fails_leaves_its_place() -> None:
    bulkhead = Bulkhead(1, wait=0.02)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with bulkhead.place(RouteClass.BOOKS, ORDINARY):
                raise ZeroDivisionError
