"""Turn errors of PostgreSQL and the network into our own errors.

DETAIL and messages of PostgreSQL quote values of rows. So only the class of an error leaves this
module, and the name of a violated constraint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import asyncpg

from app.database.client.pooler import LOST_STATEMENTS, MISCONFIGURED, PoolerError, explain
from app.errors import AppError, Invalid, Unavailable
from app.log import logger
from app.program import PROGRAM

log = logger(__name__)

AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.OperatorInterventionError,
    # Classes 53 and 58: the server lacks resources, see _LACKING.
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
BUSY = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
# Values that PostgreSQL cannot store. The request decoder refuses all known cases.
UNSTORABLE = (
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    asyncpg.InvalidTextRepresentationError,
    asyncpg.NumericValueOutOfRangeError,
    asyncpg.StatementTooComplexError,
)
# Every statement is tested with the schema and rights of this release. One of these errors means
# that the database has another schema or other rights.
UNFIT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)
SCHEMA_UNFIT = "schema_unfit"
# Messages by SQLSTATE. Every other error in AWAY means that the server cannot be reached.
_LACKING = {
    "53000": "The database server is out of resources.",
    "53100": "The disk of the database server is full.",
    "53200": "The database server is out of memory.",
    "53300": "The database server has no free connection.",
    "53400": "The database server has reached a limit of its configuration.",
    "58000": "The operating system of the database server failed.",
    "58030": "The disk of the database server failed.",
}


class DatabaseBugError(Exception):
    """An unexpected error of PostgreSQL: its class, SQLSTATE and names, without values of rows."""


@contextmanager
def translated(*, away: str) -> Iterator[None]:
    """Turn a database fault into an error that a client may see.

    `away` is the advice if the database cannot be reached. Raises Unavailable, Invalid, or
    DatabaseBugError for an unexpected error.
    """
    try:
        yield
    except AppError:
        raise
    except TimeoutError:
        log.warning("database_timeout")
        raise Unavailable(
            "database_timeout", f"The database did not answer in time. {away}"
        ) from None
    except (PoolerError, *LOST_STATEMENTS) as error:
        log.warning(MISCONFIGURED, advice=str(explain(error)))
        raise Unavailable(
            MISCONFIGURED, "The connection pooler does not fit DATABASE_POOLER; see the log."
        ) from None
    except BUSY as error:
        log.warning("database_busy", error=type(error).__name__)
        raise Unavailable(
            "database_busy", "The database is busy with other changes. Try again."
        ) from None
    except UNSTORABLE as error:
        log.warning("value_unstorable", error=type(error).__name__)
        raise Invalid("value_unstorable", "A value cannot be stored by PostgreSQL.") from None
    except UNFIT as error:
        # These messages name objects of our statements, and no values.
        log.warning("schema_unfit", error=error.message or type(error).__name__)
        message = "The database schema, or the rights of the app role, do not fit this release."
        if isinstance(error, asyncpg.UndefinedTableError):
            # Most often the database was never migrated.
            message = (
                f"The database lacks a table of this release. Run `{PROGRAM} database migrate`."
            )
        raise Unavailable(SCHEMA_UNFIT, message) from None
    except AWAY as error:
        log.warning("database_away", error=type(error).__name__)
        raise Unavailable("database_away", f"{reason_of_absence(error)} {away}") from None
    except asyncpg.PostgresError as error:
        names = (error.sqlstate, error.table_name, error.column_name, error.constraint_name)
        raise DatabaseBugError(f"{type(error).__name__} {names}") from None


def reason_of_absence(error: BaseException) -> str:
    """Return why the database cannot be used, as a sentence without text of the server."""
    state = getattr(error, "sqlstate", None) or ""
    return _LACKING.get(state, "The database cannot be reached.")


def is_of_driver(error: BaseException) -> bool:
    """Return whether the error was raised in asyncpg, and is a database fault.

    Work with a connection may also fail because of a file or its own timeout.
    """
    frames = walk_tb(error.__traceback__)
    return any(str(f.f_globals.get("__name__")).startswith("asyncpg.") for f, _ in frames)


@contextmanager
def constraint(name: str, meaning: AppError) -> Iterator[None]:
    """Raise `meaning` if this constraint is violated. Another violation is a bug."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        if error.constraint_name != name:
            raise
        raise meaning from None
