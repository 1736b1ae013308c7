"""Find an entry, and delete one, for `configuration` and `flag`."""

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.history import report_dry_run, show_changes
from app.cli.terminal import console
from app.configuration.changes.models import Kind
from app.configuration.changes.views import AppliedChangeSets
from app.configuration.snapshots.snapshot import Configuration
from app.errors import NotFound, invalid
from app.flags.change_words.sentences import Tense
from app.program import PROGRAM

_UNKNOWN = "configuration_unknown"


async def find_entry(backend: Backend, environment: str, key: str) -> Configuration | None:
    """Return an entry, or None if the environment has none with this key."""
    try:
        return await backend.get_entry(environment, key)
    except NotFound as error:
        if error.code != _UNKNOWN:
            raise
        return None


async def find_flag(backend: Backend, environment: str, key: str) -> Configuration:
    """Return a flag. Raises NotFound, or Invalid for another kind."""
    entry = await find_entry(backend, environment, key)
    if entry is None:
        raise NotFound("flag_unknown", f"There is no flag {key} in {environment}.")
    if entry.kind != Kind.FLAG:
        raise invalid("key", f"must be a flag, but this entry is a {entry.kind}")
    return entry


def delete_entry(
    environment: str,
    key: str,
    version: int | None,
    message: str,
    *,
    dry_run: bool,
    only_flags: bool = False,
) -> None:
    """Delete an entry, and print how to restore it."""

    async def write(backend: Backend) -> AppliedChangeSets:
        if only_flags:
            entry = await find_flag(backend, environment, key)
        else:
            entry = await backend.get_entry(environment, key)
        expected = version or entry.version
        return await backend.delete_entry(environment, key, expected, message, dry_run=dry_run)

    (written,) = run_backend(write).change_sets
    if dry_run:
        show_changes(written.changes, Tense.PLANNED)
        report_dry_run([written])
        return
    console.print(f"{environment}/{key} is deleted, revision {written.revision}")
    console.print(f"To restore it: {PROGRAM} configuration revert {environment} {written.revision}")
