"""Opens and closes what a process shares: settings in, database, keys and broker out; web, commands and tests alike."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Never

from app import measures
from app.broker.gateway import Gateway, Manner
from app.broker.paths import Paths
from app.broker.permits import Bearer
from app.broker.transport import Transport
from app.clock import Clock
from app.db import Database
from app.dependencies import ProcessState
from app.health.looking import Readiness
from app.lateness import keep_sampling
from app.limits import Urgency
from app.observability import logger
from app.order_updates.listening import Listeners
from app.order_updates.polling import Polling
from app.order_updates.receiving import Hints
from app.order_updates.subscribing import Webhooks
from app.orders.acting import Actor
from app.orders.underway import Underway
from app.orders.watching import Watching
from app.safeguards.audit import Ledger
from app.safeguards.audit_reading import keep_telling_heads
from app.safeguards.counting import PermitStore
from app.safeguards.counting_postgres import PostgresPermits
from app.safeguards.notices import keep_hearing
from app.safeguards.rate_policy import Policy
from app.safeguards.ratelimit import RateLimiter, keep_purging
from app.safeguards.rekeying import chains_of, head_key_ids
from app.safeguards.sealing import KeyRing
from app.sessions.asking import Means, find_investor
from app.sessions.freshness_store import FreshnessLooks
from app.sessions.hooks import Hooks
from app.sessions.looks_store import SessionLooks
from app.sessions.probing import Probes
from app.sessions.refreshing import Refreshing
from app.sessions.remembering import Remembered
from app.sessions.sharing import SharedReads
from app.sessions.tokens_store import erase_expired, key_ids_in_use
from app.sessions.unchanged import Unchanged
from app.settings import Settings
from app.statements import PATIENCE, Statements
from app.tables import SCHEMA_REVISION

_log = logger("resources")

_MOST_NAMED = 5  # chains, in a sentence that somebody has to read


class NotReady(Exception):
    """The service must not start like this."""


class Resources(ProcessState):
    """What the lifespan hands to the requests."""

    ring: KeyRing
    means: Means
    actor: Actor
    reads: SharedReads
    listeners: Listeners
    hints: Hints
    hooks: Hooks
    stop_streams: Callable[[], None]
    readiness: Readiness


@asynccontextmanager
async def open_resources(settings: Settings, clock: Clock) -> AsyncIterator[Resources]:
    """Open everything, in this order, and close it in the other.

    Raises `NotReady` for a schema that is behind or a ring that lacks a key, `TemporarilyUnavailable` without a
    database.
    """
    async with AsyncExitStack() as stack:
        db = Database.open(
            settings.database_url,
            pool_size=settings.database_pool_size,
            pool_wait=settings.database_pool_wait.total_seconds(),
        )
        stack.push_async_callback(db.aclose)
        stack.callback(measures.forget_pool, db)
        measures.watch_pool(db, db.connections_in_use, settings.database_pool_size)
        ring = KeyRing(settings.encryption_keys)
        await refuse_old_schema(db)
        await _erase_expired_tokens(db, clock)
        await _refuse_missing_keys(db, ring)
        limiter = await _open_limiter(stack, settings)
        transport = Transport.open(settings.broker_base_url, settings.broker_connect_timeout, limiter)
        stack.push_async_callback(transport.aclose)
        paths = Paths(settings.broker_exchange_paths, settings.broker_paths)
        gateway = Gateway(transport, paths, settings.broker_api_secret, _manner(settings), limiter)
        looks = _single_statements(stack, settings, PATIENCE)
        means = _means(stack, settings, clock, db, gateway, ring, looks)
        listeners, hints = _follow_orders(stack, settings, means)
        hooks = _hooks(stack, settings, means, hints)
        reads = SharedReads(limiter, settings.read_reuse_seconds)
        stack.push_async_callback(reads.aclose)
        underway = Underway()
        stack.push_async_callback(underway.aclose)
        actor = Actor(settings, db, Ledger(ring), underway, limiter, hints.acted)
        watching = Watching(db, partial(find_investor, means), actor)
        stack.push_async_callback(watching.aclose)
        for work in (
            reads.keep_forgetting(), watching.run(), keep_telling_heads(db), keep_purging(limiter), keep_sampling()
        ):  # fmt: skip
            _keep_running(stack, work)
        yield Resources(
            settings=settings, clock=clock, db=db, gateway=gateway, limiter=limiter, ring=ring, means=means,
            actor=actor, reads=reads, listeners=listeners, hints=hints, hooks=hooks, stop_streams=listeners.stop,
            readiness=Readiness(looks),
        )  # fmt: skip


def _means(  # all that it takes
    stack: AsyncExitStack, settings: Settings, clock: Clock, db: Database, gateway: Gateway, ring: KeyRing,
    looks: Statements,
) -> Means:  # fmt: skip
    probes = Probes()
    stack.push_async_callback(probes.aclose)
    patient = _single_statements(stack, settings, settings.database_pool_wait.total_seconds())
    return Means(
        clock=clock, db=db, gateway=gateway, ring=ring, remembered=Remembered(), looks=SessionLooks(patient),
        refreshing=Refreshing(FreshnessLooks(looks).look, patience=looks.patience), unchanged=Unchanged(),
        probes=probes,
    )  # fmt: skip


def _single_statements(stack: AsyncExitStack, settings: Settings, patience: float) -> Statements:
    """Open a connection besides the pool, which waits so many seconds for an answer."""
    opened = Statements.of(settings.database_url, most=1, patience=patience)
    stack.push_async_callback(opened.aclose)
    return opened


def _follow_orders(stack: AsyncExitStack, settings: Settings, means: Means) -> tuple[Listeners, Hints]:
    """Begin to look at books, and to tell what is seen in them."""
    polling = Polling(means.db, partial(find_investor, means, urgency=Urgency.IDLE), settings.order_poll_interval)
    stack.push_async_callback(polling.aclose)
    _keep_running(stack, polling.run())
    listeners = Listeners(means.db, means.clock, settings)
    hints = Hints(means.db, settings.broker_api_secret, polling.wake)

    def changed(user_id: str | None) -> None:
        means.remembered.forget(user_id)
        listeners.heard(user_id)

    _keep_running(stack, keep_hearing(settings.direct_database_url, changed=changed, has_events=listeners.heard))
    _keep_running(stack, listeners.run())
    _keep_running(stack, hints.run())
    return listeners, hints


def _hooks(stack: AsyncExitStack, settings: Settings, means: Means, hints: Hints) -> Hooks:
    """Return what a sign-in and the last log-out set off; without webhooks the polls alone go on."""
    if not settings.order_webhooks:
        return Hooks(signed_in=hints.returned, logged_out=_nothing)
    webhooks = Webhooks(means, settings.public_base_url)
    stack.push_async_callback(webhooks.aclose)

    def signed_in(user_id: str) -> None:
        hints.returned(user_id)
        webhooks.signed_in(user_id)

    return Hooks(signed_in=signed_in, logged_out=webhooks.logged_out)


async def _nothing(_bearer: Bearer) -> None:
    """Have nothing to do at a log-out."""


async def _open_limiter(stack: AsyncExitStack, settings: Settings) -> RateLimiter:
    """Open the store of permits; one that is away stops no start, but what needs a permit."""
    store = await open_permits(settings)
    stack.push_async_callback(store.aclose)
    for event, facts in await store.weaknesses():
        _log.warning(event, **facts)
    return RateLimiter(store, Policy.of(settings))


async def open_permits(settings: Settings) -> PermitStore:
    """Return the store of permits that the settings name; whoever opens it closes it."""
    if settings.rate_limit_url is None:
        return PostgresPermits.of(settings.direct_database_url)  # whose ends say what the server may forget
    from app.safeguards.counting_redis import RedisPermits  # noqa: PLC0415  # six megabytes where Redis is not used

    return RedisPermits.open(settings.rate_limit_url)


def _keep_running(stack: AsyncExitStack, work: Coroutine[Any, Any, Never]) -> None:
    """Do something in the background until the process closes."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_end)

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(stop)


def _tell_end(task: asyncio.Task[Never]) -> None:
    """Say loudly that something which was to run for ever has ended by itself."""
    if not task.cancelled():
        measures.background_work_ended()
        _log.error("background_work_ended", error=repr(task.exception()))


def _manner(settings: Settings) -> Manner:
    return Manner(
        read_deadline=settings.broker_read_deadline,
        order_deadline=settings.broker_order_deadline,
        correlation_field=settings.order_correlation_field,
        market_protection=settings.market_protection,
        calls_in_flight=settings.broker_calls_in_flight,
        breaker_failures=settings.broker_breaker_failures,
    )


async def refuse_old_schema(db: Database) -> None:
    """Raise `NotReady` for a database whose schema this release can't work with."""
    revision = await db.schema_revision()
    if revision is None or revision < SCHEMA_REVISION:
        there_is = f"The database's schema is at {revision}" if revision else "The database has no schema yet"
        raise NotReady(f"{there_is} and this release needs {SCHEMA_REVISION}: run `partner migrate` first.")


async def _erase_expired_tokens(db: Database, clock: Clock) -> None:
    """Forget tokens that nobody may use again: a key can leave the ring although their owners never came back."""
    async with db.transaction() as tx:
        await erase_expired(tx, clock.now())


async def _refuse_missing_keys(db: Database, ring: KeyRing) -> None:
    async with db.reading() as tx:
        for_tokens = await key_ids_in_use(tx) - ring.key_ids
        for_heads = await head_key_ids(tx) - ring.key_ids
        chains, count = await chains_of(tx, for_heads, _MOST_NAMED)
    told = []
    if for_tokens:
        told.append(f"ENCRYPTION_KEYS lacks {', '.join(sorted(for_tokens))}, by which stored tokens are sealed.")
    if for_heads:
        more = f" and {count - len(chains)} more" if count > len(chains) else ""
        told.append(
            f"ENCRYPTION_KEYS lacks {', '.join(sorted(for_heads))}, by which heads of the ledger are sealed: "
            f"{', '.join(chains)}{more}. Add the key to ENCRYPTION_KEYS or, where nobody has it any more, give it up "
            "with `partner keys forget KEY`."
        )
    if told:
        raise NotReady(" ".join(told))
