"""How late the event loop is: a sample now and then of what every request and every answer waits for."""

import asyncio
from typing import Never

from app import measures

_EVERY = 0.25  # seconds between two samples; a dozen microseconds a second


async def keep_sampling() -> Never:
    """Sleep, for ever, and tell by how much it took longer each time."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        measures.event_loop_lagged(max(loop.time() - due_at, 0.0))
