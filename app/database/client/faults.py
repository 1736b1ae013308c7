"""What PostgreSQL and the network throw, in the words of our own errors.

PostgreSQL's DETAIL and the texts of its errors quote values of rows, so none of them goes further
than here: the class and, for a constraint, the name are all that is passed on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import asyncpg

from app.database.client.pooler import LOST_STATEMENTS, MISCONFIGURED, PoolerError, explain
from app.errors import AppError, Invalid, Unavailable
from app.log import logger

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
    # 53 and 58: what the server lacks, see _LACKING.
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
# Texts and numbers that the request decoder lets through in no known case: this is the second wall.
UNSTORABLE = (
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    asyncpg.InvalidTextRepresentationError,
    asyncpg.NumericValueOutOfRangeError,
    asyncpg.StatementTooComplexError,
)
# Every statement is tested against the schema and the rights of this release. One of these errors
# means that the database has another schema or other rights.
UNFIT = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)
SCHEMA_UNFIT = "schema_unfit"
# What the server lacks, by SQLSTATE; anything else of AWAY is a server that cannot be reached.
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
    """An error of PostgreSQL that nobody foresaw. Class, state and names; no value of any row."""


@contextmanager
def translated(*, away: str) -> Iterator[None]:
    """Turn a fault of the database into an error that a client may see.

    `away` is the sentence for a database that cannot be reached. Raises Unavailable, Invalid, or
    DatabaseBugError for whatever else PostgreSQL said.
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
            MISCONFIGURED, "The database's pooler does not fit the settings; see the log."
        ) from None
    except BUSY as error:
        log.warning("database_busy", error=type(error).__name__)
        raise Unavailable(
            "database_busy", "The database is busy with other changes; try again."
        ) from None
    except UNSTORABLE as error:
        log.warning("value_unstorable", error=type(error).__name__)
        raise Invalid("value_unstorable", "A value cannot be stored by PostgreSQL.") from None
    except UNFIT as error:
        # These texts name objects of our own statements, and no values.
        log.warning("schema_unfit", error=error.message or type(error).__name__)
        message = "The database's schema or the service's rights to it do not fit this release."
        if isinstance(error, asyncpg.UndefinedTableError):
            # So answers a database that was never migrated.
            message = "The database lacks a table of this release; run `make migrate`."
        raise Unavailable(SCHEMA_UNFIT, message) from None
    except AWAY as error:
        log.warning("database_away", error=type(error).__name__)
        state = getattr(error, "sqlstate", None) or ""
        reason = _LACKING.get(state, "The database cannot be reached.")
        raise Unavailable("database_away", f"{reason} {away}") from None
    except asyncpg.PostgresError as error:
        names = (error.sqlstate, error.table_name, error.column_name, error.constraint_name)
        raise DatabaseBugError(f"{type(error).__name__} {names}") from None


def is_of_driver(error: BaseException) -> bool:
    """Tell whether the error passed through asyncpg, and so is the database's.

    The work with a connection may also fail for a file or a timeout of its own.
    """
    frames = walk_tb(error.__traceback__)
    return any(str(f.f_globals.get("__name__")).startswith("asyncpg.") for f, _ in frames)


@contextmanager
def constraint(name: str, meaning: AppError) -> Iterator[None]:
    """Raise the meaning when exactly this named constraint is violated; any other is a bug."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        if error.constraint_name != name:
            raise
        raise meaning from None
