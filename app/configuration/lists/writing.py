"""The steps of a write that the API, the commands and the console share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from app.configuration.lists import service, staging
from app.configuration.lists.models import ListPatch, ListResult
from app.configuration.lists.service import Current, ListTarget, Written
from app.configuration.lists.staging import BATCH, Staged
from app.configuration.lists.upload_reader import UploadReader
from app.configuration.lists.values import ListValue, ValueRuleError, checked_value, expiry_of
from app.database import Connection, Database
from app.errors import ApprovalRequired, Invalid, Violation, invalid
from app.threads import in_thread

_VIOLATIONS_MAX = 20

# Writes the next state of a list.
Change = Callable[[Connection, Current], Awaitable[Written]]


async def write(
    connection: Connection, target: ListTarget, change: Change, *, may_create: bool
) -> ListResult:
    """Write the next state of a list and the entry that names it."""
    current = await service.read_current(connection, target, may_create=may_create)
    written = await change(connection, current)
    return await service.write_entry(connection, target, current, written)


@asynccontextmanager
async def state_for_proposals(
    database: Database, target: ListTarget, change: Change, *, may_create: bool
) -> AsyncIterator[None]:
    """Store the state of a refused write that needs approval: a proposal names it by its digest.

    Only the actor may name it, as long as no entry does.
    """
    try:
        yield
    except ApprovalRequired:

        async def write_state(connection: Connection) -> None:
            current = await service.read_current(connection, target, may_create=may_create)
            await change(connection, replace(current, staged_by=target.actor))

        await database.transact(write_state)
        raise


async def receive(
    database: Database, staged: Staged, reader: UploadReader, parts: AsyncIterator[bytes]
) -> None:
    """Stage the values of a file in batches."""
    waiting: list[tuple[str, int | None]] = []

    async def flush(least: int) -> None:
        while len(waiting) >= least and waiting:
            batch, waiting[:BATCH] = waiting[:BATCH], []
            async with database.connection() as connection:
                await staging.add(connection, staged, batch)

    async for part in parts:
        waiting += await in_thread("read list", partial(reader.read, part))
        await flush(BATCH)
    waiting += reader.read(b"", is_last=True)
    await flush(1)


def checked_patch(body: ListPatch) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Return the values to add and those to remove. Raises Invalid."""
    violations: list[Violation] = []
    add: dict[str, int | None] = {}
    remove = dict.fromkeys(body.remove)
    for place, item in enumerate(body.add):
        value = item if isinstance(item, ListValue) else ListValue(value=item)
        try:
            add[checked_value(value.value)] = expiry_of(value.expires_at)
        except ValueRuleError as error:
            violations.append(Violation(f"add[{place}]", str(error)))
    for place, text in enumerate(body.remove):
        try:
            checked_value(text)
        except ValueRuleError as error:
            violations.append(Violation(f"remove[{place}]", str(error)))
        if text in add:
            violations.append(Violation(f"remove[{place}]", "must not be added too"))
    if violations:
        raise Invalid.of("list_invalid", violations[:_VIOLATIONS_MAX])
    if not add and not remove:
        raise invalid("add", "must have a value, or remove")
    return list(add.items()), list(remove)
