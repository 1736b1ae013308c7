"""Read a flag, edit its definition and write it, in one transaction."""

from collections.abc import Callable
from dataclasses import replace

from app.cli.configuration import write_content
from app.cli.terminal import console
from app.configuration.changes.history import key_history
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.rows import read_entries
from app.configuration.entries import service
from app.database import Connection
from app.environments import service as environments
from app.errors import NotFound, invalid
from app.evaluation.validation import check_flag
from app.flags.editing import Definition
from app.flags.wording import describe
from app.scripts import Resources, run_transaction

# The revision and the version of a write; None if nothing was written.
Written = tuple[int, int | None] | None
# From the definition and the latest one with a targeting, if any, to the new definition.
Edit = Callable[[Definition, Definition | None], Definition]

# Changes of a flag that are searched for its latest targeting.
_CHANGES_MAX = 100


def edit_flag(environment: str, key: str, edit: Edit, message: str) -> None:
    """Edit a flag and print what it serves. An edit without effect writes nothing."""

    async def write(resources: Resources, connection: Connection) -> tuple[Written, Definition]:
        stored, version = await read_flag(connection, environment, key)
        if violations := check_flag(stored.value):
            rule = f"names a flag that cannot be edited: {violations[0]}"
            raise invalid("key", f"{rule}. Set the whole definition instead")
        definition = edit(stored.value, await _latest_with_targeting(connection, environment, key))
        if definition == stored.value:
            return None, definition
        written = await write_content(
            connection,
            environment,
            key,
            replace(stored, value=definition),
            version=version,
            message=message,
            resources=resources,
        )
        return written, definition

    written, definition = run_transaction(write)
    report(environment, key, written, definition)


async def read_flag(connection: Connection, environment: str, key: str) -> tuple[Content, int]:
    """Return the flag's content and version. Raises NotFound, or Invalid for another kind."""
    await environments.get(connection, environment)
    entry = (await read_entries(connection, environment, [service.check_key(key)]))[key]
    if entry.content is None:
        raise NotFound("flag_unknown", f"There is no flag {key} in {environment}.")
    if entry.content.kind is not Kind.FLAG:
        rule = f"must be a flag, but this entry is a {entry.content.kind}"
        raise invalid("key", f"{rule}. A flag needs another key")
    return entry.content, entry.last_version


async def _latest_with_targeting(
    connection: Connection, environment: str, key: str
) -> Definition | None:
    history = await key_history(connection, environment, key, limit=_CHANGES_MAX)
    for change in history.items:
        before = change.before
        if before is not None and before.kind == Kind.FLAG and not check_flag(before.value):
            definition: Definition = before.value
            if definition.get("targeting"):
                return definition
    return None


def report(environment: str, key: str, written: Written, definition: Definition) -> None:
    """Print the version, and in words what the flag serves."""
    if written is None:
        console.print(f"{environment}/{key} is unchanged")
    else:
        console.print(f"{environment}/{key} is at version {written[1]}, revision {written[0]}")
    for line in describe(definition):
        console.print(f"  {line}")
