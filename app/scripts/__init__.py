"""Scripts that reuse the service's pool. A whole script:

    from app.scripts import Resources, run_script

    async def main(resources: Resources) -> None:
        async with resources.database.connection() as connection:
            print(await connection.fetchval("select count(*) from configurations"))

    if __name__ == "__main__":
        run_script(main)

`run_script` provides settings, logging and a pool with the service's limits, and closes everything.
A foreseen error is one line and exit code 1, not a traceback. `make script name=…` runs
`app/scripts/….py`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from app import log
from app.access.log import AccessLog
from app.configuration.json_schema.pool import Checkers
from app.database import Connection, Database
from app.database.client.reasons import is_foreseen, reason_of
from app.database.targets import open_database
from app.errors import AppError, ForeseenError
from app.http.writes import transact
from app.program import PROGRAM
from app.secrets.key_sources import wrapper_of
from app.secrets.vault import Vault
from app.settings import Settings, load

Result = TypeVar("Result")
# What an operator does about an error whose text is the same for clients.
_NEXT_STEPS = {
    "environment_unknown": f"Run `{PROGRAM} environment list` to see the environments.",
    "configuration_unknown": f"Run `{PROGRAM} configuration list ENVIRONMENT` to see the keys.",
    "flag_unknown": f"Run `{PROGRAM} configuration list ENVIRONMENT` to see the flags.",
    "revision_unknown": f"`{PROGRAM} configuration history ENVIRONMENT` shows the revisions.",
    "token_unknown": f"Run `{PROGRAM} token list` to see the tokens.",
    "approval_required": "Repeat the command with --propose, or --emergency REASON.",
    "proposal_unknown": f"Run `{PROGRAM} proposal list` to see the proposals.",
    "version_stale": "Read what has changed since, then repeat the command.",
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources of a script. Its access log writes rows only, nothing to standard output."""

    settings: Settings
    database: Database
    vault: Vault
    access_log: AccessLog
    checkers: Checkers


def configured_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings and set up logging. Raises SettingsError."""
    settings = load(environ)
    log.configure(settings.log.level, settings.log.format)
    return settings


@asynccontextmanager
async def resources(*, as_owner: bool = False) -> AsyncIterator[Resources]:
    """Read the settings, set up logging, and open the pool for the duration of the block."""
    settings = configured_settings()
    vault = Vault(wrapper_of(settings))
    async with open_database(settings, as_owner=as_owner) as database:
        with closing(Checkers()) as checkers:
            yield Resources(
                settings=settings,
                database=database,
                vault=vault,
                access_log=AccessLog(database),
                checkers=checkers,
            )


def run_script(main: Callable[[Resources], Awaitable[Result]], *, as_owner: bool = False) -> Result:
    """Run a script's main function with its own resources. SIGTERM ends it like Ctrl-C.

    `as_owner` opens the pool as the owner of the tables, like migrations.
    """

    async def whole() -> Result:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with resources(as_owner=as_owner) as given:
            return await main(given)

    with foreseen_errors():
        return asyncio.run(whole())


def run_transaction(
    work: Callable[[Resources, Connection], Awaitable[Result]],
    *,
    as_owner: bool = False,
    dry_run: bool = False,
) -> Result:
    """Run a script that consists of one transaction; roll back a dry run."""

    async def main(given: Resources) -> Result:
        return await transact(given.database, lambda c: work(given, c), dry_run=dry_run)

    return run_script(main, as_owner=as_owner)


def run_query(query: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run a script that consists of one function with a connection."""

    async def main(given: Resources) -> Result:
        async with given.database.connection() as connection:
            return await query(connection)

    return run_script(main)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def foreseen_errors() -> Iterator[None]:
    """Print a foreseen error without secrets, and exit with 1. Several fields have a line each.

    SIGTERM and SIGHUP end the process like Ctrl-C, so that it stops an embedded server.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        yield
    except BrokenPipeError:
        # The interpreter flushes standard output at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not is_foreseen(error):
            raise
        print(f"error: {_line(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


def _line(error: Exception) -> str:
    if isinstance(error, AppError) and error.code in _NEXT_STEPS:
        return f"{str(error).removesuffix('.')}. {_NEXT_STEPS[error.code]}"
    if isinstance(error, AppError) and len(error.violations) > 1:
        return "\n  ".join((str(error), *map(str, error.violations)))
    if isinstance(error, ForeseenError):
        return str(error)
    file = error.filename if isinstance(error, OSError) else None
    return f"{file}: {reason_of(error)}" if file else reason_of(error)
