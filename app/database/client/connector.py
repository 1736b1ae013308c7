"""Open one connection: with retries, to several hosts, and with a limit per host.

asyncpg tries all hosts within one timeout, which a silent first host uses up. It never retries.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import asyncpg

from app.database.client.drivers import asyncpg_arguments
from app.database.client.faults import reason_of_absence
from app.database.client.pooler import check_statements, explained
from app.database.client.primary import Primary, Session
from app.errors import Unavailable
from app.log import logger
from app.settings import DatabaseSettings, Pooler, Target
from app.tasks import Backoff

log = logger(__name__)

# A retry cannot help. SSLError must be checked first: it is an OSError, which is transient.
_PERMANENT = (
    ssl.SSLError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ProtocolViolationError,
)
_TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    # The server is no longer the primary. Another one may answer later.
    Unavailable,
    # asyncpg raises it if the server closes the connection during the handshake.
    asyncpg.InternalClientError,
)
_BACKOFF_SECONDS = 0.5
# The wait for the other hosts after one accepts writes: another may be on a higher timeline. Only a
# silent host costs this time, which is less than a caller waits for a connection.
_OTHERS_SECONDS = 0.5


def is_transient(error: BaseException) -> bool:
    """Return whether a failed connect may succeed later without a change of ours."""
    if isinstance(error, _PERMANENT):
        return False
    # For a server without TLS asyncpg raises a plain ConnectionError, never a subclass.
    if type(error) is ConnectionError:
        return False
    return isinstance(error, _TRANSIENT)


@dataclass(frozen=True, kw_only=True)
class ConnectFailure:
    """Why an attempt to connect failed, as a sentence for clients, and its time.monotonic()."""

    reason: str
    at: float


class Connector:
    """Opens connections to one target. It is the `connect` of asyncpg's pool."""

    def __init__(
        self, target: Target, settings: DatabaseSettings, primary: Primary | None = None
    ) -> None:
        self._target = target
        self._primary = primary or Primary()
        self._is_checked = False
        # A caller that waits for a connection gives up before the last attempt.
        self.failure: ConnectFailure | None = None
        self._settings = settings
        self._arguments = asyncpg_arguments(target, settings)

    async def __call__(self, *_: Any, **pool_arguments: Any) -> Session:
        """Connect, or raise the last error after all attempts or at the timeout."""
        attempts = self._settings.connect_attempts
        backoff = Backoff(_BACKOFF_SECONDS)
        async with asyncio.timeout(self._settings.connect_timeout_seconds):
            for attempt in range(1, attempts + 1):
                try:
                    return await self._any_host(pool_arguments)
                except Exception as error:
                    self._note(error)
                    if attempt == attempts or not is_transient(error):
                        raise
                    log.info("connect_retry", attempt=attempt, error=type(error).__name__)
                await backoff.pause()
        raise AssertionError("unreachable")

    def _note(self, error: Exception) -> None:
        """Store the reason of a failure. Silence of the server is none: a caller measures it."""
        if isinstance(error, Unavailable):
            self.failure = ConnectFailure(reason=error.message, at=time.monotonic())
        elif is_transient(error) and not isinstance(error, TimeoutError):
            self.failure = ConnectFailure(reason=reason_of_absence(error), at=time.monotonic())

    async def _any_host(self, pool_arguments: dict[str, Any]) -> Session:
        """Return a connection to the primary.

        Try all hosts at once: a silent host must not use up the time of the others. Of those that
        accept writes choose the highest timeline. If no host is left, raise an error. A transient
        error is preferred, since its host may be the primary.
        """
        attempts = {
            asyncio.create_task(self._one_host(host, port, pool_arguments)): f"{host}:{port}"
            for host, port in self._target.hosts
        }
        winner: Session | None = None
        try:
            await self._wait_for_answers(set(attempts))
            answers = {host: attempt for attempt, host in attempts.items() if attempt.done()}
            winner = await self._choose(answers)
        finally:
            for attempt in attempts:
                attempt.cancel()
                attempt.add_done_callback(partial(_close_unless, winner))
        if winner is not None:
            return winner
        errors = [error for attempt in answers.values() if (error := attempt.exception())]
        transient = [error for error in errors if is_transient(error)]
        raise next(iter(transient or errors), None) or Unavailable(
            "database_away", "No database server accepts writes at the moment."
        )

    async def _wait_for_answers(self, waiting: set[asyncio.Task[Session]]) -> None:
        """Wait for every host, but at most 0.5 s more after one that may be the primary."""
        deadline: float | None = None
        while waiting:
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            answered, waiting = await asyncio.wait(
                waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED
            )
            if not answered:
                return
            if deadline is None and any(self._may_be_primary(attempt) for attempt in answered):
                deadline = time.monotonic() + _OTHERS_SECONDS

    def _may_be_primary(self, attempt: asyncio.Task[Session]) -> bool:
        return _accepts_writes(attempt) and not self._primary.is_superseded(attempt.result())

    async def _choose(self, answers: dict[str, asyncio.Task[Session]]) -> Session | None:
        """Return the session on the primary, or None. Raises Unavailable for a former primary.

        A single host is used even if it accepts no writes: it can still serve reads.
        """
        is_single = len(self._target.hosts) == 1
        candidates = {
            host: attempt.result()
            for host, attempt in answers.items()
            if attempt.exception() is None and (is_single or _accepts_writes(attempt))
        }
        chosen, refused = await self._primary.choose(candidates, compare_revisions=not is_single)
        self._primary.record_refusals(answers, refused)
        if candidates and chosen is None:
            raise Unavailable(
                "database_superseded", "The database server that answers is no longer the primary."
            )
        return chosen

    async def _one_host(self, host: str, port: int, pool_arguments: dict[str, Any]) -> Session:
        try:
            return await self.connect_to(host, port, **pool_arguments)
        except Exception as error:
            if len(self._target.hosts) > 1:
                log.warning(
                    "connect_host_failed", host=f"{host}:{port}", error=type(error).__name__
                )
            raise

    async def connect_to(self, host: str, port: int, **pool_arguments: Any) -> Session:
        """Connect to one host, primary or not, and query its state."""
        arguments = {
            **pool_arguments,
            **self._arguments,
            "host": host,
            "port": port,
            # Otherwise asyncpg reads it from the environment.
            "target_session_attrs": "any",
            "connection_class": Session,
        }
        with explained():
            async with asyncio.timeout(self._settings.host_timeout_seconds):
                session = cast("Session", await asyncpg.connect(**arguments))
                try:
                    session.address = (host, port)
                    await self._primary.query_state(session)
                    await self._check_pooler(session)
                except BaseException:
                    session.terminate()
                    raise
        return session

    async def _check_pooler(self, session: Session) -> None:
        """Check once that the pooler supports prepared statements. Raises PoolerError."""
        settings = self._settings
        if self._is_checked or settings.pooler is Pooler.NONE or not settings.statement_cache_size:
            return
        await check_statements(session)
        self._is_checked = True


def _accepts_writes(attempt: asyncio.Task[Session]) -> bool:
    return attempt.exception() is None and attempt.result().state.takes_writes


def _close_unless(winner: "Session | None", attempt: asyncio.Task[Session]) -> None:
    """Close a connection that was not chosen, or that opened after the caller was cancelled.

    Do not wait for it: a caller that is cancelled during the wait would also lose the winner.
    """
    if attempt.cancelled() or attempt.exception() is not None:
        return
    if attempt.result() is not winner:
        attempt.result().terminate()
