"""Why a database refuses, in one line that names the setting, the server and what to do.

The texts of the drivers name no server, quote error numbers, and are empty for a timeout.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from app.database.client.connector import is_transient
from app.errors import ForeseenError, reason
from app.settings import DatabaseSettings, Target

_OF_ASYNCPG = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseRefusedError(ForeseenError):
    """No connection could be made; `may_pass` without a change of the settings."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@contextmanager
def connecting(target: Target, settings: DatabaseSettings) -> Iterator[None]:
    """Raise DatabaseRefusedError for what a driver raises in the block."""
    try:
        yield
    except (OSError, *_OF_ASYNCPG) as error:
        may_pass = is_transient(error)
        tried = f" (tried {_times(settings.connect_attempts)})" if may_pass else ""
        message = f"{_setting(target, settings)}: {_refusal(error, target)}{tried}"
        raise DatabaseRefusedError(message, may_pass=may_pass) from error


def is_foreseen(error: BaseException) -> bool:
    """Return whether an error has a text for operators, from `reason_of`; others are bugs."""
    # psycopg, which is not imported for this, gives each of its errors a diagnosis.
    is_psycopg = getattr(error, "diag", None) is not None
    return is_psycopg or isinstance(error, (ForeseenError, OSError, asyncpg.PostgresError))


def reason_of(error: BaseException) -> str:
    """Return what any error says in one line, without the details that quote values."""
    diagnosis = getattr(error, "diag", None)  # of psycopg, which is not imported for this
    if diagnosis is not None and diagnosis.message_primary:
        return str(diagnosis.message_primary)
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, OSError):
        return reason(error)
    is_foreseen = isinstance(error, (ForeseenError, *_OF_ASYNCPG)) or diagnosis is not None
    lines = str(error.args[0]).splitlines() if is_foreseen and error.args else []
    return lines[0] if lines else "an unexpected error"


def _refusal(error: Exception, target: Target) -> str:
    servers = ", ".join(f"{host}:{port}" for host, port in target.hosts)
    match error:
        case ssl.SSLCertVerificationError():
            told = f"presents an untrusted certificate ({error.verify_message})"
            advice = ", see DATABASE_TLS_CA and sslrootcert"
        case ssl.SSLError():
            told, advice = f"fails in TLS ({error.reason})", ""
        case socket.gaierror():
            told, advice = "is unknown", ", check the host name"
        case ConnectionRefusedError():
            told, advice = "refuses connections", ", is PostgreSQL running there?"
        case TimeoutError():
            told, advice = "does not answer", ""
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            told, advice = f"refuses the role: {reason_of(error)}", ""
        case asyncpg.ProtocolViolationError():
            told, advice = f"refuses a parameter: {reason_of(error)}", ", see DATABASE_POOLER"
        case _ if type(error) is ConnectionError:
            told, advice = "offers no TLS", ", which DATABASE_TLS_MODE demands"
        case _:
            told, advice = f"cannot be used: {reason_of(error)}", ""
    return f"{servers} {told}{advice}"


def _setting(target: Target, settings: DatabaseSettings) -> str:
    if settings.target is None:
        return "the embedded PostgreSQL"
    named = {
        "DATABASE_URL": settings.target,
        "DATABASE_MIGRATOR_URL": settings.migrator,
        "DATABASE_BACKUP_URL": settings.backup,
        "DATABASE_ADMIN_URL": settings.admin,
    }
    return next((name for name, each in named.items() if each == target), "DATABASE_URL")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
