"""Opening one connection: several attempts, several hosts, each wait with a limit of its own.

asyncpg tries the hosts of a list inside one timeout, so a first host that accepts and then says
nothing would use up all of it; and it never tries twice.
"""

import asyncio
import json
import random
import re
import socket
import ssl
from functools import partial
from typing import Any, TypeAlias

import asyncpg
import msgspec

from app.database.drivers import asyncpg_arguments
from app.database.roles import OWNER
from app.log import logger
from app.settings import DatabaseSettings, Target

log = logger(__name__)

# The stubs are generic where the class itself is not, hence a name for the quoted type.
Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# Trying again cannot mend these. SSLError comes first: it is an OSError, which is transient.
_PERMANENT = (
    ssl.SSLError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
    # A pooler that refuses a start-up parameter: DATABASE_POOLER is missing.
    asyncpg.ProtocolViolationError,
)
_TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
    # asyncpg says this when a server closes the connection in the middle of the handshake.
    asyncpg.InternalClientError,
)
_BACKOFF_SECONDS = 0.5
_LONG_DIGITS = 17
_LONG_INTEGER = re.compile(rb"\d{%d}" % _LONG_DIGITS)


def is_transient(error: BaseException) -> bool:
    """Tell whether a failed attempt to connect may succeed later, with nothing changed by us."""
    if isinstance(error, _PERMANENT):
        return False
    # A plain server under verify-full: asyncpg raises a bare ConnectionError, never a subclass.
    if type(error) is ConnectionError:
        return False
    return isinstance(error, _TRANSIENT)


class Connector:
    """Opens connections to one target; what asyncpg's pool calls as its `connect`."""

    def __init__(self, target: Target, settings: DatabaseSettings) -> None:
        self._target = target
        self._settings = settings
        self._arguments = asyncpg_arguments(target, settings)

    async def __call__(self, *_: Any, **pool_arguments: Any) -> Session:
        """Connect, or raise the last error once attempts or time have run out."""
        attempts = self._settings.connect_attempts
        async with asyncio.timeout(self._settings.connect_timeout_seconds):
            for attempt in range(1, attempts + 1):
                try:
                    return await self._any_host(pool_arguments)
                except Exception as error:
                    if attempt == attempts or not is_transient(error):
                        raise
                    log.info("connect_retry", attempt=attempt, error=type(error).__name__)
                pause = _BACKOFF_SECONDS * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
        raise AssertionError("unreachable")

    async def _any_host(self, pool_arguments: dict[str, Any]) -> Session:
        """Return a connection to the host that first says it takes writes.

        All hosts are asked at once: a silent host must not use up the time of the others. One host
        that refuses decides nothing. Only when none is left, raise an error: one that may pass
        goes first, since that host may be the primary.
        """
        attempts = {
            asyncio.create_task(self._one_host(host, port, pool_arguments)): f"{host}:{port}"
            for host, port in self._target.hosts
        }
        winner: Session | None = None
        errors: list[BaseException] = []
        waiting = set(attempts)
        try:
            while waiting and winner is None:
                answered, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                # Several may have answered by now. A yes wins, whatever the others say.
                for attempt in answered:
                    error = attempt.exception()
                    if error is None:
                        winner = attempt.result()
                        return winner
                    errors.append(error)
                    self._log_refusal(attempts[attempt], error)
        finally:
            for attempt in attempts:
                attempt.cancel()
                attempt.add_done_callback(partial(_close_unless, winner))
        raise next((error for error in errors if is_transient(error)), errors[0])

    def _log_refusal(self, address: str, error: BaseException) -> None:
        """Log why one of several hosts is not used, unless it is a standby."""
        is_standby = isinstance(error, asyncpg.TargetServerAttributeNotMatched)
        if len(self._target.hosts) > 1 and not is_standby:
            log.warning("connect_host_failed", host=address, error=type(error).__name__)

    async def _one_host(self, host: str, port: int, pool_arguments: dict[str, Any]) -> Session:
        several = len(self._target.hosts) > 1
        connection: Session = await asyncpg.connect(
            **{
                **pool_arguments,
                **self._arguments,
                "host": host,
                "port": port,
                "timeout": self._settings.host_timeout_seconds,
                "target_session_attrs": "read-write" if several else "any",
            }
        )
        return connection


def _close_unless(winner: "Session | None", attempt: asyncio.Task[Session]) -> None:
    """Close a connection that was not chosen, or that came after the caller had been cancelled.

    Do not wait for it: a caller who is cancelled during that wait would lose the winner too.
    """
    if attempt.cancelled() or attempt.exception() is not None:
        return
    if attempt.result() is not winner:
        attempt.result().terminate()


async def prepare_connection(connection: Session) -> None:
    """Make a new connection ours: JSON as Python values, a dead peer noticed within a minute."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode, decoder=_decode
    )
    _keep_alive(connection)


async def prepare_as_owner(connection: Session) -> None:
    """Do the same for a role that may become the owner of the tables, and become it.

    Where roles were never provisioned, the role that there is owns them already.
    """
    await prepare_connection(connection)
    if await connection.fetchval(
        "select pg_has_role(oid, 'member') from pg_roles where rolname = $1", OWNER
    ):
        await connection.execute(f'set role "{OWNER}"')


# msgspec itself takes 7 microseconds for a number near the ends of a double's range.
_decoder = msgspec.json.Decoder(float_hook=float)


def _encode(value: Any) -> bytes:
    # msgspec.Raw goes through as it is; a JSON null can only be said with it, as None is SQL's.
    return b"\x01" + msgspec.json.encode(value)


def _decode(value: bytes) -> Any:
    return decode_json(value[1:])


def decode_json(text: bytes) -> Any:
    """Return the value of the JSON that PostgreSQL writes for a jsonb."""
    if _LONG_INTEGER.search(text):
        # jsonb writes 1e300 out as an integer of 301 digits. Integers beyond 2^53 are never let in,
        # so a long one was a double when it came.
        return json.loads(text, parse_int=_integer_or_double)
    return _decoder.decode(text)


def _integer_or_double(text: str) -> int | float:
    return int(text) if len(text.lstrip("-")) < _LONG_DIGITS else float(text)


def _keep_alive(connection: Session) -> None:
    """Turn on TCP keepalive, which asyncpg has no argument for; `_transport` is private to it."""
    peer = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if peer is None or peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),
    ):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
