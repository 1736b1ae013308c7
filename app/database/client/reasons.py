"""Explain a failed connect in one line: the setting, the server, and what to do.

Messages of the drivers name no server, contain error numbers, and are empty for a timeout.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from app.database.client.connector import is_transient
from app.errors import ForeseenError, reason
from app.names import counted
from app.settings import DatabaseSettings, Target

_LOCK_NOT_AVAILABLE = "55P03"
_OF_ASYNCPG = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseRefusedError(ForeseenError):
    """No connection could be opened. `may_pass`: a later attempt may succeed."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@contextmanager
def connecting(target: Target, settings: DatabaseSettings) -> Iterator[None]:
    """Raise DatabaseRefusedError for a driver error in the block."""
    try:
        yield
    except (OSError, *_OF_ASYNCPG) as error:
        may_pass = is_transient(error)
        tried = f" (tried {counted(settings.connect_attempts, 'time')})" if may_pass else ""
        message = f"{_setting(target, settings)}: {_refusal(error, target)}{tried}"
        raise DatabaseRefusedError(message, may_pass=may_pass) from error


def is_foreseen(error: BaseException) -> bool:
    """Return whether `reason_of` has a text for operators. Any other error is a bug."""
    # An error of psycopg has `diag`. This module does not import psycopg.
    is_psycopg = getattr(error, "diag", None) is not None
    return is_psycopg or isinstance(error, (ForeseenError, OSError, asyncpg.PostgresError))


def reason_of(error: BaseException) -> str:
    """Return the message of an error in one line, without details that quote values."""
    if getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
        # PostgreSQL's message names neither the lock nor the way out.
        return "another transaction keeps a table locked; find it in pg_stat_activity, or wait"
    diagnosis = getattr(error, "diag", None)  # psycopg
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
            problem = f"presents an untrusted certificate ({error.verify_message})"
            advice = ", see DATABASE_TLS_CA and sslrootcert"
        case ssl.SSLError():
            problem, advice = f"fails in TLS ({error.reason})", ""
        case socket.gaierror():
            problem, advice = "is unknown", ", check the host name"
        case ConnectionRefusedError():
            problem, advice = "refuses connections", ", is PostgreSQL running there?"
        case TimeoutError():
            problem, advice = "does not answer", ""
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            problem, advice = f"refuses the role: {reason_of(error)}", ""
        case asyncpg.ProtocolViolationError():
            problem, advice = f"refuses a parameter: {reason_of(error)}", ", see DATABASE_POOLER"
        case _ if type(error) is ConnectionError:
            problem, advice = "offers no TLS", ", which DATABASE_TLS_MODE demands"
        case _:
            problem, advice = f"cannot be used: {reason_of(error)}", ""
    return f"{servers} {problem}{advice}"


def _setting(target: Target, settings: DatabaseSettings) -> str:
    default = "the embedded PostgreSQL" if settings.target is None else "DATABASE_URL"
    named = {
        "DATABASE_URL": settings.target,
        "DATABASE_MIGRATOR_URL": settings.migrator,
        "DATABASE_BACKUP_URL": settings.backup,
        "DATABASE_ADMIN_URL": settings.admin,
    }
    return next((name for name, value in named.items() if value == target), default)
