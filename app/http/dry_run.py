"""A dry run does all of the work, so that it fails as the real one would, and then gives it up."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from app.database import Connection, Database

Result = TypeVar("Result")


class _DryRunOverError(Exception):
    """Ends the transaction of a dry run."""


async def transact(
    database: Database, work: Callable[[Connection], Awaitable[Result]], *, dry_run: bool
) -> Result:
    """Run the work in a transaction and return its result; a dry run writes nothing."""
    if not dry_run:
        return await database.transact(work)
    results: list[Result] = []

    async def tried(connection: Connection) -> None:
        results.append(await work(connection))
        raise _DryRunOverError

    with suppress(_DryRunOverError):
        await database.transact(tried)
    return results[-1]
