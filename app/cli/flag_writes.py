"""Read a flag, edit its definition and write it, unless the flag has changed meanwhile."""

from collections.abc import Callable

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import find_flag
from app.cli.terminal import console
from app.configuration.changes.models import Kind
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.errors import invalid
from app.evaluation.validation import check_flag
from app.flags.editing import Definition
from app.flags.wording import describe

# From the definition and the latest one with a targeting, if any, to the new definition.
Edit = Callable[[Definition, Definition | None], Definition]

# Changes of a flag that are searched for its latest targeting.
_CHANGES_MAX = 100


def edit_flag(environment: str, key: str, edit: Edit, message: str) -> None:
    """Edit a flag and print what it serves. An edit without effect writes nothing."""

    async def write(backend: Backend) -> tuple[WriteResult | None, Definition]:
        stored = await find_flag(backend, environment, key)
        if violations := check_flag(stored.value):
            rule = f"names a flag that cannot be edited: {violations[0]}"
            raise invalid("key", f"{rule}. Set the whole definition instead")
        definition = edit(stored.value, await _latest_with_targeting(backend, environment, key))
        if definition == stored.value:
            return None, definition
        new = NewConfiguration(
            value=definition,
            kind="flag",
            schema=stored.schema,
            description=stored.description,
            message=message,
        )
        return await backend.put_entry(environment, key, new, stored.version), definition

    written, definition = run_backend(write)
    report(environment, key, written, definition)


async def _latest_with_targeting(backend: Backend, environment: str, key: str) -> Definition | None:
    history = await backend.key_history(environment, key, limit=_CHANGES_MAX)
    for change in history.items:
        before = change.before
        if before is not None and before.kind == Kind.FLAG and not check_flag(before.value):
            definition: Definition = before.value
            if definition.get("targeting"):
                return definition
    return None


def report(environment: str, key: str, written: WriteResult | None, definition: Definition) -> None:
    """Print the version, and in words what the flag serves."""
    if written is None:
        console.print(f"{environment}/{key} is unchanged")
    else:
        console.print(
            f"{environment}/{key} is at version {written.version}, revision {written.revision}"
        )
    for line in describe(definition):
        console.print(f"  {line}")
