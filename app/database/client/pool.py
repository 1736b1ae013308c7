"""The connection pool, with a limit on every wait. Use it by `connection` or `transact`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import asyncpg

from app.database.client.commits import Announcer, Commit
from app.database.client.connector import Connector
from app.database.client.faults import SCHEMA_UNFIT, is_of_driver, translated
from app.database.client.pooler import MISCONFIGURED, explained
from app.database.client.primary import AsyncpgConnection, Primary, Session
from app.database.client.primary_watch import PrimaryWatch
from app.database.client.session_setup import prepare_connection
from app.database.client.shares import Shares
from app.errors import Unavailable
from app.log import logger
from app.settings import DatabaseSettings, Target
from app.tasks import Backoff, preserve_cancellation

if TYPE_CHECKING:
    from asyncpg.connection import LoggedQuery

log = logger(__name__)

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Result = TypeVar("Result")

_CLOSE_SECONDS = 2
_READ_AWAY = "Try again."
# A commit whose answer was lost may have succeeded.
REPEAT_ADVICE = "Read the entry, or retry with the same Idempotency-Key."
_WRITE_AWAY = f"The write may have succeeded. {REPEAT_ADVICE}"
_TRANSACTION_ATTEMPTS = 3
_BACKOFF_SECONDS = 0.05
# One environment's writers hold at most a quarter of the pool, rounded up.
_SHARES = 4
# Errors after which `transact` retries. Work that catches errors must not catch these. The first is
# a schema change under a cached statement, which is prepared again after one failure. The second is
# a session that accepts no writes, which has been closed.
RETRIED = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)


@dataclass(kw_only=True)
class _Transaction:
    """The actions to run after the commit, and the change sets to announce."""

    actions: list[Callable[[], None]] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)


_transaction: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """Counts of connections, and of callers that wait for one."""

    size: int
    idle: int
    limit: int
    waiting: int


class Database:
    """The pool of one process. Every use raises Unavailable before `open` has returned."""

    def __init__(self, settings: DatabaseSettings, primary: Primary | None = None) -> None:
        self._settings = settings
        self.primary = primary or Primary()
        self.watch = PrimaryWatch(self.primary)
        # Writers of one environment wait for its row. More connections would not be faster.
        self.shares = Shares(
            limit=-(-settings.pool_max // _SHARES), wait_seconds=settings.acquire_timeout_seconds
        )
        self.announcer = Announcer(self.connection)
        # Called after each commit with the change sets of the transaction, in order.
        self.commit_listeners: list[Callable[[Sequence[Commit]], None]] = []
        # Called after each statement, if it is set before `open`.
        self.statement_listener: Callable[[LoggedQuery], None] | None = None
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connector: Connector | None = None
        self._has_several_hosts = False
        self._waiting = 0
        # The time.monotonic() at which the pooler last lost a prepared statement.
        self.pooler_failed_at: float | None = None
        # Set by every failed use, so that the heartbeat runs early.
        self.failed = asyncio.Event()
        # Set by every use that does not fit the schema, so that the migrations are compared early.
        self.unfit = asyncio.Event()

    async def open(
        self,
        target: Target,
        prepare: Callable[[AsyncpgConnection], Coroutine[Any, Any, None]] = prepare_connection,
    ) -> None:
        """Open the minimum of connections, at least one, and run `prepare` on each.

        Raises the errors of the connector. `reasons.connecting` turns them into a message.
        """
        settings = self._settings

        async def initialize(connection: AsyncpgConnection) -> None:
            await prepare(connection)
            if self.statement_listener is not None:
                connection.add_query_logger(self.statement_listener)

        self._connector = Connector(target, settings, self.primary)
        pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            connect=self._connector,
            init=initialize,
            # The reset query of asyncpg costs a round trip per release. asyncpg also rolls back and
            # removes listeners. A test makes sure that our statements leave no other session state.
            reset=_nothing_to_reset,
            init_size=max(1, settings.pool_min),
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            max_inactive_connection_lifetime=settings.idle_timeout_seconds,
        )
        try:
            with explained():
                await pool  # type: ignore[unused-awaitable]  # awaiting it opens it
        except BaseException:
            # The next attempt creates a new pool.
            pool.terminate()
            raise
        self._pool = pool
        self._has_several_hosts = len(target.hosts) > 1

    async def close(self) -> None:
        """Close the connections, and abort those that are open after 2 s."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()

    @property
    def use(self) -> PoolUse:
        pool = self._pool
        return PoolUse(
            size=pool.get_size() if pool else 0,
            idle=pool.get_idle_size() if pool else 0,
            limit=self._settings.pool_max,
            waiting=self._waiting,
        )

    def connect_failure_since(self, monotonic: float) -> str | None:
        """Return why the last attempt to connect failed, None if it was before this time."""
        failure = self._connector.failure if self._connector is not None else None
        return failure.reason if failure is not None and failure.at >= monotonic else None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield a connection, and turn database faults into errors that a client may see.

        Raises Unavailable if no connection is free in time, or the database is away.
        """
        with self._translate_faults(_READ_AWAY):
            async with self._acquired() as connection:
                yield connection

    async def transact(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run the work in one transaction, up to three times, and return its result.

        The work must have no effect but on the connection. Raises as `connection` does, and
        Unavailable `database_superseded` when another host became the primary meanwhile: then the
        transaction is committed on the former primary, and may be lost.
        """
        with self._translate_faults(_WRITE_AWAY):
            backoff = Backoff(_BACKOFF_SECONDS)
            for attempt in range(1, _TRANSACTION_ATTEMPTS + 1):
                transaction = _Transaction()
                outer = _transaction.set(transaction)
                try:
                    async with self._acquired() as connection:
                        session = session_of(connection)
                        async with connection.transaction():
                            result = await work(connection)
                except RETRIED:
                    if attempt == _TRANSACTION_ATTEMPTS:
                        raise
                    await backoff.pause()
                else:
                    await self.watch.confirm(session)
                    if self.primary.is_superseded(session):
                        raise Unavailable(
                            "database_superseded",
                            f"The database's primary changed during the write. {REPEAT_ADVICE}",
                        )
                    await self._finish(transaction)
                    return result
                finally:
                    _transaction.reset(outer)
        raise AssertionError("unreachable")

    async def _finish(self, transaction: _Transaction) -> None:
        """Run the actions of a committed transaction, and announce its change sets."""
        for action in transaction.actions:
            action()
        if transaction.commits:
            for listener in self.commit_listeners:
                try:
                    listener(transaction.commits)
                except Exception:
                    # The transaction is committed, and the next poll repeats the listener's work.
                    log.exception("commit_listener_failed")
            self.announcer.add(transaction.commits)
            if not self.announcer.is_running:
                await self.announcer.send()

    @contextmanager
    def _translate_faults(self, away: str) -> Iterator[None]:
        unrelated: OSError | None = None
        try:
            with preserve_cancellation(), translated(away=away):
                try:
                    yield
                except OSError as error:  # including TimeoutError
                    if is_of_driver(error):
                        raise
                    unrelated = error
        except Unavailable as error:
            self.failed.set()
            if error.code == SCHEMA_UNFIT:
                self.unfit.set()
            if error.code == MISCONFIGURED:
                self.pooler_failed_at = time.monotonic()
            raise
        if unrelated is not None:
            raise unrelated

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        pool = self._pool
        if pool is None:
            raise Unavailable("database_away", "The database is not connected yet.")
        # Without a connection nothing was written, also by `transact`.
        with translated(away=_READ_AWAY):
            connection = await self._acquire(pool)
        session = session_of(connection)
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            # The server or role was read-only when the session began. A new session may not be.
            session.terminate()
            raise
        finally:
            if session.is_closed() and self._has_several_hosts:
                # The server may have been replaced, and its other sessions may still work.
                self.primary.renew()
            await asyncio.shield(self._release(pool, connection))

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        """Acquire a connection to the current primary. Raises Unavailable."""
        started = time.monotonic()
        deadline = started + self._settings.acquire_timeout_seconds
        self._waiting += 1
        try:
            while True:
                connection = await pool.acquire(timeout=max(0.0, deadline - time.monotonic()))
                session = session_of(connection)
                if self.primary.is_current(session):
                    return connection
                session.terminate()
                await asyncio.shield(self._release(pool, connection))
        except TimeoutError:
            waited = f"{time.monotonic() - started:.1f} s"
            if pool.get_size() < self._settings.pool_max:
                reason = self.connect_failure_since(started)
                raise Unavailable(
                    "database_away",
                    f"{reason} {_READ_AWAY}"
                    if reason is not None
                    else f"The database did not answer within {waited}.",
                ) from None
            raise Unavailable(
                "pool_exhausted", f"No database connection came free within {waited}."
            ) from None
        finally:
            self._waiting -= 1

    async def _release(self, pool: "asyncpg.Pool[asyncpg.Record]", connection: Connection) -> None:
        """Release a connection, and never raise. Shield it: it must finish after a cancellation."""
        try:
            await pool.release(connection, timeout=self._settings.command_timeout_seconds)
        except Exception as error:  # noqa: BLE001 - must not replace the result of the work
            # asyncpg has closed the connection. An acknowledged commit is still valid.
            log.info("connection_discarded", error=type(error).__name__)


def session_of(connection: Connection) -> Session:
    """Return the session behind a connection of the pool."""
    return cast("Session", connection._con)  # type: ignore[attr-defined]  # noqa: SLF001


def after_commit(action: Callable[[], None]) -> None:
    """Run the action after `transact` has committed, and never after a rollback.

    Outside of `transact`, run it at once.
    """
    transaction = _transaction.get()
    if transaction is None:
        action()
    else:
        transaction.actions.append(action)


def announce(commit: Commit) -> None:
    """Announce the change set after `transact` has committed, and never after a rollback.

    Outside of `transact`, other processes find the change set when they poll.
    """
    if (transaction := _transaction.get()) is not None:
        transaction.commits.append(commit)


async def _nothing_to_reset(_: AsyncpgConnection) -> None: ...
