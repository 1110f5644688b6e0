"""All checks at once, each with its own deadline, so that the whole ends in time even where everything is dead."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from app.broker.paths import Paths
from app.clock import Clock
from app.examining import broker, database, egress, permits
from app.examining.findings import Finding, not_looked_at, ok, warning, within
from app.problems import TemporarilyUnavailable
from app.resources import open_permits
from app.safeguards.rate_policy import Policy
from app.safeguards.ratelimit import RateLimiter
from app.safeguards.sealing import KeyRing
from app.server import longest_stop
from app.settings import Settings

_LONGEST = 15.0  # seconds, of any check
_LAST = 2.0  # seconds more, in which what was broken off may end

_LONGEST_STOP = 20.0  # seconds; what docker-compose.yml gives


async def examine(settings: Settings, clock: Clock, *, is_offline: bool) -> list[Finding]:
    """Return what is found, in the order in which it should be mended; raises `ValueError` for unusable paths."""
    Paths(settings.broker_exchange_paths, settings.broker_paths)
    ring = KeyRing(settings.encryption_keys)
    store = await open_permits(settings)
    limiter = RateLimiter(store, Policy.of(settings))
    works: list[tuple[Sequence[str], Coroutine[Any, Any, list[Finding]]]] = [
        (database.CHECKS, database.examine_database(settings, ring, clock)),
        ([permits.CHECK], permits.examine_permits(settings)),
    ]
    if not is_offline:
        works += [
            (broker.CHECKS, broker.examine_broker(settings, limiter, clock)),
            ([broker.LOGIN_CHECK], broker.examine_login_page(settings, limiter)),
        ]
    works.append(([egress.CHECK], egress.examine_egress(settings, is_offline=is_offline)))
    tasks = [asyncio.create_task(within(_LONGEST, checks, work)) for checks, work in works]
    await asyncio.wait(tasks, timeout=_LONGEST + _LAST)
    found = [_settings(settings)]
    for task, (checks, _) in zip(tasks, works, strict=True):
        found += task.result() if task.done() else not_looked_at(checks, "it can't even be broken off.")
    with suppress(TemporarilyUnavailable, TimeoutError):
        async with asyncio.timeout(1):
            await store.aclose()
    return found


def _settings(settings: Settings) -> Finding:
    """Say of settings that can be used what they are fit for."""
    if not settings.is_production:
        return warning("settings", "APP_ENV=development: cookies are relaxed; real money needs APP_ENV=production.")
    stop = longest_stop(settings)
    if stop > _LONGEST_STOP:
        return warning(
            "settings",
            f"With this BROKER_ORDER_DEADLINE a replica may take {stop:g} s to end: give it more before it is killed "
            "(stop_grace_period, terminationGracePeriodSeconds).",
        )
    return ok("settings", "They are readable and fit for production.")
