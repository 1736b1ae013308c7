"""Dry runs: the work runs in a transaction, fails as it would, and is rolled back."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from app.database import Connection, Database

Result = TypeVar("Result")


class _DryRunOverError(Exception):
    """Rolls back the transaction of a dry run."""


async def transact(
    database: Database, work: Callable[[Connection], Awaitable[Result]], *, dry_run: bool
) -> Result:
    """Run the work in a transaction and return its result. Roll back a dry run."""
    if not dry_run:
        return await database.transact(work)
    results: list[Result] = []

    async def run_and_roll_back(connection: Connection) -> None:
        results.append(await work(connection))
        raise _DryRunOverError

    with suppress(_DryRunOverError):
        await database.transact(run_and_roll_back)
    return results[-1]
