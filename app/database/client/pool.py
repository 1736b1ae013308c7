"""The pool, with a limit on every wait, and the two ways to use it: `connection` and `transact`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg

from app.database.client.connector import Connector
from app.database.client.faults import is_of_driver, translated
from app.database.client.pooler import MISCONFIGURED, explained
from app.database.client.primary import AsyncpgConnection, Primary, Session
from app.database.client.primary_watch import PrimaryWatch
from app.database.client.session_setup import prepare_connection
from app.database.client.shares import Shares
from app.errors import Unavailable
from app.log import logger
from app.settings import DatabaseSettings, Target
from app.tasks import Backoff, preserve_cancellation

log = logger(__name__)

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Result = TypeVar("Result")

_CLOSE_SECONDS = 2
_READ_AWAY = "Try again."
# A commit whose answer was lost may have happened.
_WRITE_AWAY = "A write may have been made: look first, or repeat it with its Idempotency-Key."
_TRANSACTION_ATTEMPTS = 3
_BACKOFF_SECONDS = 0.05
# One environment's writers hold at most a quarter of the pool, rounded up.
_SHARES = 4
# What `transact` tries again; work that catches errors has to let these through. The first is a
# schema change under a cached statement; after one failure the cache is renewed. The second is a
# session that takes no writes; it has been discarded.
RETRIED = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
# Of the transaction that runs, what is to follow its commit.
_following: ContextVar[list[Callable[[], None]] | None] = ContextVar("following", default=None)


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """How busy the pool is: counts of connections, and of callers that wait for one."""

    size: int
    idle: int
    limit: int
    waiting: int


class Database:
    """The one way to PostgreSQL. Made closed; until `open` has returned, use is Unavailable."""

    def __init__(self, settings: DatabaseSettings, primary: Primary | None = None) -> None:
        self._settings = settings
        self.primary = primary or Primary()
        self.watch = PrimaryWatch(self.primary)
        # Writers of one environment queue for its row, where more connections would only wait.
        self.shares = Shares(
            limit=-(-settings.pool_max // _SHARES), wait_seconds=settings.acquire_timeout_seconds
        )
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._has_several_hosts = False
        self._waiting = 0
        # When the pooler last lost a prepared statement, on the monotonic clock.
        self.pooler_failed_at: float | None = None
        # Set by every failed use, for whoever wants to look closer before its time.
        self.troubled = asyncio.Event()

    async def open(
        self,
        target: Target,
        prepare: Callable[[AsyncpgConnection], Coroutine[Any, Any, None]] = prepare_connection,
    ) -> None:
        """Connect the least number of connections, one at the least, and prepare each.

        Raises what the connector raises; `reasons.connecting` says it in words.
        """
        settings = self._settings
        pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            connect=Connector(target, settings, self.primary),
            init=prepare,
            # asyncpg's own reset costs a round trip on every release. It still rolls back and
            # drops listeners; our statements keep no other session state, which a test holds.
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
            # A pool that failed to open stays closed; the next attempt makes a new one.
            pool.terminate()
            raise
        self._pool = pool
        self._has_several_hosts = len(target.hosts) > 1

    async def close(self) -> None:
        """Close the connections, and abort those that are not closed after 2 s."""
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

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Faults of the database leave as errors that a client may see.

        Raises Unavailable when none comes free in time, or the database is away.
        """
        with self._watched(_READ_AWAY):
            async with self._lent() as connection:
                yield connection

    async def transact(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run the work in one transaction and return its result; it may run up to three times.

        So the work must touch nothing but the connection. Raises as `connection` does.
        """
        with self._watched(_WRITE_AWAY):
            backoff = Backoff(_BACKOFF_SECONDS)
            for attempt in range(1, _TRANSACTION_ATTEMPTS + 1):
                following: list[Callable[[], None]] = []
                outer = _following.set(following)
                try:
                    async with self._lent() as connection:
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
                            "The database's primary changed during the write. Read the entry, or "
                            "retry with the same Idempotency-Key.",
                        )
                    for action in following:
                        action()
                    return result
                finally:
                    _following.reset(outer)
        raise AssertionError("unreachable")

    @contextmanager
    def _watched(self, away: str) -> Iterator[None]:
        unrelated: OSError | None = None
        try:
            with preserve_cancellation(), translated(away=away):
                try:
                    yield
                except OSError as error:  # TimeoutError is one
                    if is_of_driver(error):
                        raise
                    unrelated = error
        except Unavailable as error:
            self.troubled.set()
            if error.code == MISCONFIGURED:
                self.pooler_failed_at = time.monotonic()
            raise
        if unrelated is not None:
            raise unrelated

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        pool = self._pool
        if pool is None:
            raise Unavailable("database_away", "The database is not connected yet.")
        connection = await self._acquire(pool)
        session = session_of(connection)
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            # The server or the role was read-only when the session began. A new one may not be.
            session.terminate()
            raise
        finally:
            if session.is_closed() and self._has_several_hosts:
                # The server may have been replaced, and come back later with the other sessions.
                self.primary.renew()
            await self._release(pool, connection)

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        """Return a connection to the primary. Raises Unavailable."""
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
                await self._release(pool, connection)
        except TimeoutError:
            waited = f"{time.monotonic() - started:.1f} s"
            if pool.get_size() < self._settings.pool_max:
                raise Unavailable(
                    "database_away", f"The database did not answer within {waited}."
                ) from None
            raise Unavailable(
                "pool_exhausted", f"No database connection came free within {waited}."
            ) from None
        finally:
            self._waiting -= 1

    async def _release(self, pool: "asyncpg.Pool[asyncpg.Record]", connection: Connection) -> None:
        """Give a connection back. Never raise, and finish although the caller is cancelled."""
        await asyncio.shield(self._give_back(pool, connection))

    async def _give_back(
        self, pool: "asyncpg.Pool[asyncpg.Record]", connection: Connection
    ) -> None:
        try:
            await pool.release(connection, timeout=self._settings.command_timeout_seconds)
        except Exception as error:  # noqa: BLE001 - must not replace how the work ended
            # asyncpg has closed the connection. A commit that was acknowledged still counts.
            log.info("connection_discarded", error=type(error).__name__)


def session_of(connection: Connection) -> Session:
    """Return the session that a connection of the pool stands for until it is released."""
    return cast("Session", connection._con)  # type: ignore[attr-defined]  # noqa: SLF001


def after_commit(action: Callable[[], None]) -> None:
    """Do something once the work that `transact` runs has been committed, and not at all otherwise.

    At once where no such work runs.
    """
    following = _following.get()
    if following is None:
        action()
    else:
        following.append(action)


async def _nothing_to_reset(_: AsyncpgConnection) -> None: ...
