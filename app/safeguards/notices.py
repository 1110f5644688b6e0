"""What replicas tell each other: that a user's sessions have changed, or that he has new order events; never what.

A notice is a courtesy. Whoever remembers something reads it again within a second anyway, so that one which is lost or
late costs that second and nothing else (docs/decisions/0013).
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Never

import asyncpg
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.observability import logger

_log = logger("notices")

_SESSIONS = "partner_sessions"
_EVENTS = "partner_order_events"
_CONNECT_TIMEOUT = 5.0  # seconds
_TRY_AGAIN_AFTER = 1.0  # seconds
_ASK_EVERY = 30.0  # seconds; a connection that a firewall has forgotten tells nothing, not even its end
_EVERYBODY = ""
_AWAY = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All the ways in which a connection is not to be had, a failover without a primary among them."""


async def tell_changed(tx: AsyncConnection, user_id: str) -> None:
    """Tell every replica, once the transaction is committed, that it knows too much about a user."""
    await tx.execute(select(func.pg_notify(_SESSIONS, user_id)))


async def tell_events(tx: AsyncConnection, user_id: str) -> None:
    """Tell every replica that a user has new order events."""
    await tx.execute(select(func.pg_notify(_EVENTS, user_id)))


async def tell_all_changed(tx: AsyncConnection) -> None:
    """Tell the same about everybody."""
    await tell_changed(tx, _EVERYBODY)


Heard = Callable[[str | None], None]
"""Takes a user's id, or none for everybody."""


async def keep_hearing(url: SecretStr, *, changed: Heard, has_events: Heard) -> Never:
    """Call `changed` and `has_events` at each notice of their kind, for ever, over one connection for both.

    A pooler can't carry it, hence the direct URL. Notices are missed while the connection is away.
    """
    while True:
        try:
            await _hear(url, {_SESSIONS: changed, _EVENTS: has_events})
        except _AWAY as error:  # the type alone: a text may quote the URL
            _log.warning("notices_not_heard", reason=type(error).__name__)
        await asyncio.sleep(_TRY_AGAIN_AFTER)


async def _hear(url: SecretStr, told_to: Mapping[str, Heard]) -> None:
    connection = await asyncpg.connect(
        url.get_secret_value(), timeout=_CONNECT_TIMEOUT, command_timeout=_CONNECT_TIMEOUT
    )
    try:
        for channel, heard in told_to.items():
            await connection.add_listener(channel, partial(_hand_on, heard))
            heard(None)  # whatever was told before nobody heard
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _connection: ended.set())
        while not ended.is_set():
            try:
                await asyncio.wait_for(ended.wait(), _ASK_EVERY)
            except TimeoutError:
                await connection.execute("SELECT 1")
    finally:
        connection.terminate()


def _hand_on(heard: Heard, _connection: object, _pid: int, _channel: str, told: str) -> None:
    heard(told or None)
