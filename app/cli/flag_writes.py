"""Read a flag, edit its definition and write it, unless the flag has changed meanwhile."""

from collections.abc import Callable

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import find_flag
from app.cli.terminal import console
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.errors import invalid
from app.evaluation.validation import check_flag
from app.flags.editing import Definition
from app.flags.switching import CHANGES_MAX, latest_with_targeting
from app.flags.wording import describe, prerequisites_text

# From the definition and the latest one with a targeting, if any, to the new definition.
Edit = Callable[[Definition, Definition | None], Definition]


def edit_flag(environment: str, key: str, edit: Edit, message: str) -> None:
    """Edit a flag and print what it serves. An edit without effect writes nothing."""

    async def write(backend: Backend) -> tuple[WriteResult | None, Definition]:
        stored = await find_flag(backend, environment, key)
        if violations := check_flag(stored.value):
            rule = f"names a flag that cannot be edited: {violations[0]}"
            raise invalid("key", f"{rule}. Set the whole definition instead")
        history = await backend.key_history(environment, key, limit=CHANGES_MAX)
        definition = edit(stored.value, latest_with_targeting(history.items))
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


def report(environment: str, key: str, written: WriteResult | None, definition: Definition) -> None:
    """Print the version, and in words what the flag serves."""
    if written is None:
        console.print(f"{environment}/{key} is unchanged")
    else:
        console.print(
            f"{environment}/{key} is at version {written.version}, revision {written.revision}"
        )
    for line in filter(None, (prerequisites_text(definition), *describe(definition))):
        console.print(f"  {line}")
