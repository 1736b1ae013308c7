"""Connect arguments for both drivers, asyncpg and psycopg, from one target."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import ForeseenError
from app.settings import DatabaseSettings, Pooler, Target, TlsMode

APPLICATION_NAME = "flagstone"
SCHEMA = "flagstone"
# pg_temp comes last: without a name it is searched first, and every role may create objects there.
SEARCH_PATH = f"{SCHEMA}, pg_temp"


class TlsFileError(ForeseenError):
    """A TLS file of the settings cannot be used. A retry does not help."""


def asyncpg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect`, except host, port and timeout."""
    return {
        "database": target.database,
        "user": target.user,
        "password": target.password.reveal() if target.password else None,
        "ssl": asyncpg_tls(target),
        # Without it a dead network breaks every outer timeout: to cancel a query asyncpg opens a
        # second connection, which only this limits.
        "command_timeout": settings.command_timeout_seconds,
        "statement_cache_size": settings.statement_cache_size,
        # By default asyncpg prepares every statement again after 300 s.
        "max_cached_statement_lifetime": 0,
        "server_settings": _server_settings(settings),
    }


def _server_settings(settings: DatabaseSettings) -> dict[str, str]:
    basic = {"application_name": APPLICATION_NAME, "timezone": "UTC"}
    if settings.pooler is Pooler.TRANSACTION:
        # PgBouncer refuses the others at the start. `database provision` sets them on the role.
        return basic
    # Start-up parameters survive RESET ALL. A SET after connecting would not.
    return basic | {
        "search_path": SEARCH_PATH,
        "statement_timeout": f"{settings.command_timeout_seconds * 1000:.0f}",
        "lock_timeout": f"{settings.lock_timeout_seconds * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{_idle_seconds(settings) * 1000:.0f}",
        "jit": "off",
    }


def _idle_seconds(settings: DatabaseSettings) -> float:
    """Return how long a transaction may wait for its process, which is slow if statements are."""
    return max(10.0, settings.command_timeout_seconds)


def asyncpg_tls(target: Target) -> ssl.SSLContext | str | bool:
    """Return the `ssl` argument of asyncpg. Without it PGSSLMODE would decide.

    Raises TlsFileError.
    """
    tls = target.tls
    match tls.mode:
        case None | TlsMode.DISABLE:
            return False
        case TlsMode.PREFER:
            return "prefer"
        case TlsMode.REQUIRE | TlsMode.VERIFY_CA | TlsMode.VERIFY_FULL:
            context = _context(tls.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.check_hostname = tls.mode is TlsMode.VERIFY_FULL
            if tls.mode is TlsMode.REQUIRE and tls.ca is None:
                context.verify_mode = ssl.CERT_NONE
            if tls.certificate is not None:
                with _tls_file_errors("the client certificate or its key"):
                    context.load_cert_chain(tls.certificate, tls.key)
            return context


def _context(ca: Path | None) -> ssl.SSLContext:
    with _tls_file_errors("the file of certificate authorities"):
        return ssl.create_default_context(cafile=ca)


@contextmanager
def _tls_file_errors(file: str) -> Iterator[None]:
    """Raise TlsFileError: an OSError would look like a server that is away, and be retried."""
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise TlsFileError(f"DATABASE_TLS: {file} cannot be used: {error.strerror}") from None


def libpq_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return the arguments of `psycopg.connect`. libpq applies the timeout per host."""
    tls = target.tls
    mode = tls.mode or TlsMode.DISABLE
    arguments: dict[str, Any] = {
        "host": ",".join(host for host, _ in target.hosts),
        "port": ",".join(str(port) for _, port in target.hosts),
        "dbname": target.database,
        "user": target.user,
        "password": target.password.reveal() if target.password else None,
        "application_name": f"{APPLICATION_NAME}-migrations",
        # libpq accepts whole seconds, and treats 1 as 2.
        "connect_timeout": max(2, round(settings.host_timeout_seconds)),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "sslmode": mode.value,
    }
    if mode in {TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL} or tls.ca:
        arguments["sslrootcert"] = str(tls.ca or _system_authorities())
    if tls.certificate is not None:
        arguments |= {"sslcert": str(tls.certificate), "sslkey": str(tls.key)}
    if len(target.hosts) > 1:
        arguments["target_session_attrs"] = "read-write"
    return arguments


def _system_authorities() -> Path | str:
    # The OpenSSL in the wheel of psycopg has the certificate path of its build machine.
    file = ssl.get_default_verify_paths().cafile
    return Path(file) if file else "system"
