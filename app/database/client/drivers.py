"""One description of a database, given to each of the two drivers in its own words."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import ForeseenError
from app.settings import DatabaseSettings, Pooler, Target, TlsMode

APPLICATION_NAME = "flagstone"
SCHEMA = "flagstone"
# pg_temp is named, and last: unnamed it would be searched first, and anybody may create there.
SEARCH_PATH = f"{SCHEMA}, pg_temp"


class TlsFileError(ForeseenError):
    """A file that TLS needs cannot be used; trying again mends nothing."""


def asyncpg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return what `asyncpg.connect` needs besides host, port and timeout."""
    return {
        "database": target.database,
        "user": target.user,
        "password": target.password.reveal() if target.password else None,
        "ssl": asyncpg_tls(target),
        # Without it a dead network defeats every outer timeout: cancelling a query opens a second
        # connection, and only this bounds that one too.
        "command_timeout": settings.command_timeout_seconds,
        "statement_cache_size": settings.statement_cache_size,
        # The default, 300 s, would prepare every statement again every five minutes.
        "max_cached_statement_lifetime": 0,
        "server_settings": _server_settings(settings),
    }


def _server_settings(settings: DatabaseSettings) -> dict[str, str]:
    basic = {"application_name": APPLICATION_NAME, "timezone": "UTC"}
    if settings.pooler is Pooler.TRANSACTION:
        # PgBouncer refuses the others at start-up; `database provision` sets them on the role.
        return basic
    # As start-up parameters they survive RESET ALL, which a SET in `init` would not.
    return basic | {
        "search_path": SEARCH_PATH,
        "statement_timeout": f"{settings.command_timeout_seconds * 1000:.0f}",
        "lock_timeout": f"{settings.lock_timeout_seconds * 1000:.0f}",
        "idle_in_transaction_session_timeout": "10000",
        "jit": "off",
    }


def asyncpg_tls(target: Target) -> ssl.SSLContext | str | bool:
    """Return asyncpg's `ssl` argument; always given, or PGSSLMODE would decide.

    Raises TlsFileError when a file of the settings cannot be used.
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
                with _told_plainly("the client's certificate or key"):
                    context.load_cert_chain(tls.certificate, tls.key)
            return context


def _context(ca: Path | None) -> ssl.SSLContext:
    with _told_plainly("the file of authorities"):
        return ssl.create_default_context(cafile=ca)


@contextmanager
def _told_plainly(what: str) -> Iterator[None]:
    """An OSError here would look as if the server were away, and be tried again for ever."""
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise TlsFileError(f"DATABASE_TLS: {what} cannot be used: {error.strerror}") from None


def libpq_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return what `psycopg.connect` needs. libpq takes one timeout for each host by itself."""
    tls = target.tls
    mode = tls.mode or TlsMode.DISABLE
    arguments: dict[str, Any] = {
        "host": ",".join(host for host, _ in target.hosts),
        "port": ",".join(str(port) for _, port in target.hosts),
        "dbname": target.database,
        "user": target.user,
        "password": target.password.reveal() if target.password else None,
        "application_name": f"{APPLICATION_NAME}-migrations",
        # libpq counts whole seconds, and takes 1 for 2.
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
    # psycopg's wheel carries an OpenSSL that looks for authorities where it was built.
    file = ssl.get_default_verify_paths().cafile
    return Path(file) if file else "system"
