"""Postgres: short visible transactions, never held across a call to the broker, and an honest 503 when it is gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from app.observability import logger
from app.problems import TemporarilyUnavailable

_log = logger(__name__)

_CONNECT_TIMEOUT = 5.0  # seconds; a database in the same network answers in milliseconds
_STATEMENT_TIMEOUT = 10.0  # seconds; no statement of ours takes one
_GONE_CLASSES = ("08", "53", "57P")  # connection lost, out of resources, shutting down (PostgreSQL, appendix A)


def open_engine(url: SecretStr, *, pool_size: int = 10) -> AsyncEngine:
    """Return an engine for a libpq URL; nothing is connected yet.

    asyncpg reads the URL itself, so that `sslmode`, `host=/socket` and several hosts mean what they mean to libpq.
    """

    async def connect() -> asyncpg.Connection:  # type: ignore[no-any-unimported]  # asyncpg has no types
        return await asyncpg.connect(
            url.get_secret_value(), timeout=_CONNECT_TIMEOUT, command_timeout=_STATEMENT_TIMEOUT
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=3,
        pool_recycle=1800,
        hide_parameters=True,  # an error's text would carry them into the log
    )
    event.listen(engine.sync_engine, "checkout", _pass_over_the_closed)
    return engine


class Database:
    """The pool, and the two ways to use it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def open(cls, url: SecretStr) -> Self:
        return cls(open_engine(url))

    async def aclose(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commit at the end of the block, roll back if it raises; `TemporarilyUnavailable` when Postgres is gone."""
        async with _told_as_unavailable(), self._engine.begin() as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Run single statements, each for itself; a third cheaper than a transaction where none is needed."""
        async with _told_as_unavailable(), self._autocommit.connect() as tx:
            yield tx

    async def schema_revision(self) -> str | None:
        """Return the revision of the migrations that the database has had, none if it had none."""
        async with self.reading() as tx:
            has_table = await tx.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
            if not has_table:
                return None
            revision: str | None = await tx.scalar(text("SELECT max(version_num) FROM alembic_version"))
            return revision


def _pass_over_the_closed(_connection: object, _record: object, proxy: PoolProxiedConnection) -> None:
    """Take another connection for one that the server has closed meanwhile; asyncpg knows without asking it."""
    driver = proxy.driver_connection
    if driver is not None and driver.is_closed():
        raise DisconnectionError


@asynccontextmanager
async def _told_as_unavailable() -> AsyncIterator[None]:
    try:
        yield
    except (OSError, PoolExhausted, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
        _log.error("database_unavailable", error=type(error).__name__)
        raise TemporarilyUnavailable from error
    except DBAPIError as error:
        if not _is_gone(error):
            raise
        _log.error("database_unavailable", error=type(error.orig).__name__)
        raise TemporarilyUnavailable from error


def _is_gone(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(_GONE_CLASSES)
