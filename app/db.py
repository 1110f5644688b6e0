"""Postgres: short visible transactions, never held across a call to the broker, and an honest 503 when it is gone."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection
from typing_extensions import override

from app import measures
from app.observability import logger
from app.problems import TemporarilyUnavailable

_log = logger(__name__)

_CONNECT_TIMEOUT = 5.0  # seconds; a database in the same network answers in milliseconds
_STATEMENT_TIMEOUT = 10.0  # seconds; no statement of ours takes one
_GOODBYE = 1.0  # seconds; a process that is to end has twenty in all
_LOOK_TIMEOUT = 3.0  # seconds; a load balancer that asks whether we are able does not wait for ten
_UNAVAILABLE = (
    "08", "53", "57",  # connection lost, out of resources, shut down or cancelled from outside (PostgreSQL, appendix A)
    "28", "3D", "42501",  # who we are, which database, and what we may do there: the operator's to mend
    "25P03", "25006", "40001", "40P01", "55P03",  # asleep too long, a standby after a failover, lost to another
)  # fmt: skip
_READ_ONLY = "25006"
_LOCKED = "55P03"


class Unconnected(ConnectionError):
    """Why no connection could be made, in a sentence of ours: the driver's own may quote the URL, password and all."""


def open_engine(
    url: SecretStr, *, pool_size: int = 10, pool_wait: float = 3.0, statement_timeout: float = _STATEMENT_TIMEOUT
) -> AsyncEngine:
    """Return an engine for a libpq URL; nothing is connected yet. A connection is waited for `pool_wait` seconds.

    asyncpg reads the URL itself, so that `sslmode`, `host=/socket` and several hosts mean what they mean to libpq.
    """

    async def connect() -> asyncpg.Connection:  # type: ignore[no-any-unimported]  # asyncpg has no types
        try:
            return await asyncpg.connect(
                url.get_secret_value(), timeout=_CONNECT_TIMEOUT, command_timeout=statement_timeout
            )
        except TimeoutError:  # which is told apart from that of a statement
            raise Unconnected("The database can't be reached: it did not answer in time.") from None
        except (OSError, ValueError) as error:
            if told := _wrong_with(error, url):
                raise Unconnected(told) from None
            raise

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_wait,
        pool_recycle=1800,
        hide_parameters=True,  # an error's text would carry them into the log
    )
    event.listen(engine.sync_engine, "checkout", _pass_over_the_closed)
    return engine


_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_UNTRUSTED = (
    "The database's certificate is not to be trusted: it is not of the authority in sslrootcert, not for this host, or "
    "out of date."
)
_NO_TLS = (
    "No encrypted connection to the database can be made: it speaks no TLS that we do, or a file of "
    f"{', '.join(_FILES)} is no such thing."
)
_NO_AUTHORITY = "sslmode asks for the database's certificate to be checked, and no sslrootcert says by which authority."


def _wrong_with(error: OSError | ValueError, url: SecretStr) -> str | None:
    """Return what is wrong with the URL or the encryption that it asks for, none if it is something else."""
    if isinstance(error, ssl.SSLError):  # before the ValueErrors, of which a certificate's is one
        return _UNTRUSTED if isinstance(error, ssl.SSLCertVerificationError) else _NO_TLS
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return _NO_AUTHORITY if "root certificate" in str(error) else "The database's URL says what can't be done."
    if isinstance(error, ValueError):
        return "The database's URL can't be read."
    if isinstance(error, FileNotFoundError):  # a socket's, unless
        given = parse_qs(urlsplit(url.get_secret_value()).query)
        lacking = [name for name in _FILES for path in given.get(name, ()) if not Path(path).exists()]
        return f"There is no file where the database's URL names one as {' and '.join(lacking)}." if lacking else None
    is_refused = "rejected SSL upgrade" in str(error)
    return "The database offers no encryption, and sslmode asks for it." if is_refused else None


Transaction = AsyncConnection
"""What a store is given to write with, by callers who know nothing of SQL."""


class Database:
    """The pool, and the two ways to use it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._pool = cast("AsyncAdaptedQueuePool", engine.pool)
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def open(cls, url: SecretStr, *, pool_size: int = 10, pool_wait: float = 3.0) -> Self:
        """Return a database of so many connections at most; whoever gets none in `pool_wait` seconds is told so."""
        return cls(open_engine(url, pool_size=pool_size, pool_wait=pool_wait))

    async def aclose(self) -> None:
        """Take leave of the server, unless it does not answer: then the connections end with the process."""
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._engine.dispose()
        except (OSError, DBAPIError):  # TimeoutError is one of the first
            await self._engine.dispose(close=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commit at the end of the block, roll back if it raises; `TemporarilyUnavailable` when Postgres is gone."""
        self._note_if_full()
        async with told_as_unavailable(), self._engine.begin() as tx:
            try:
                yield tx
            except DBAPIError as error:
                if _state_of(error) == _READ_ONLY:
                    await tx.invalidate()  # the next connection may lead to the new primary
                raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Run single statements, each for itself; a third cheaper than a transaction where none is needed."""
        self._note_if_full()
        async with told_as_unavailable(), self._autocommit.connect() as tx:
            yield tx

    def connections_in_use(self) -> int:
        """Return how many of the pool's connections somebody has at this moment."""
        return self._pool.checkedout()

    def _note_if_full(self) -> None:
        if self._pool.checkedout() >= self._pool.size():
            measures.database_pool_waited()

    async def schema_revision(self) -> str | None:
        """Return the revision of the migrations that the database has had, none if it had none."""
        async with told_as_unavailable(), asyncio.timeout(_LOOK_TIMEOUT), self.reading() as tx:
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


def told_as_unavailable(*, is_counted: bool = True) -> AbstractAsyncContextManager[None]:
    """Raise `TemporarilyUnavailable` for whatever keeps us from the database, and leave faults of our own alone.

    It is counted where the event loop runs, and nowhere else (app/measuring.py).
    """
    return _TOLD if is_counted else _TOLD_ONLY


class _ToldAsUnavailable(AbstractAsyncContextManager[None]):
    """One for all blocks: it holds nothing of them, and a generator for each would cost every statement."""

    def __init__(self, *, is_counted: bool) -> None:
        self._is_counted = is_counted

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, PoolExhausted):
            if self._is_counted:
                measures.database_pool_exhausted()
            _log.error("database_pool_exhausted")
            raise TemporarilyUnavailable("Every connection to the database is taken.") from error
        if error is not None and _is_unavailable(error):
            if self._is_counted:
                measures.database_failed()
            told = str(error) if isinstance(error, Unconnected) else type(_driver_error(error)).__name__
            _log.error("database_unavailable", error=told)
            raise TemporarilyUnavailable from error


_TOLD, _TOLD_ONLY = _ToldAsUnavailable(is_counted=True), _ToldAsUnavailable(is_counted=False)


def _is_unavailable(error: BaseException) -> bool:
    """Say whether it is the database that is away, not we who asked for something wrong."""
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    if not isinstance(error, DBAPIError | asyncpg.PostgresError):
        return False
    is_gone = isinstance(error, DBAPIError) and (error.connection_invalidated or _is_ending(error))
    return is_gone or _state_of(error).startswith(_UNAVAILABLE)


def reason_of(problem: TemporarilyUnavailable) -> str:
    """Return why the database is not to be had, for an operator; what the server says quotes no secret."""
    error = _driver_error(problem.__cause__)
    if isinstance(error, Unconnected):
        return str(error)
    if isinstance(error, TimeoutError):
        return "The database did not answer in time: it is out of reach, too busy, or somebody holds what is asked for."
    said = getattr(error, "message", None) or str(getattr(error, "__cause__", None) or "")
    return f"The database can't be used: {said}." if _state_of(error) else "The database can't be reached."


def is_held(problem: TemporarilyUnavailable) -> bool:
    """Say whether somebody holds what was asked for, and would not let go of it in time."""
    return _state_of(_driver_error(problem.__cause__)) == _LOCKED


def _is_ending(error: DBAPIError) -> bool:
    """Say whether the server had taken its leave on a connection, whose end had not come yet when it was used."""
    return isinstance(getattr(error.orig, "__cause__", None), asyncpg.InternalClientError)


def _driver_error(error: object) -> object:
    return error.orig if isinstance(error, DBAPIError) else error


def _state_of(error: object) -> str:
    return str(getattr(_driver_error(error), "sqlstate", None) or "")
