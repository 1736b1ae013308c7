"""Making a change set, in the caller's transaction."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.compiling import check_compiling
from app.configuration.changes.guards import check_guards
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import (
    Change,
    ChangeKind,
    ChangeSet,
    Entry,
    Operation,
    PropertiesChange,
)
from app.configuration.changes.offload import run_by_size
from app.configuration.changes.properties import PropertiesPatch, patched
from app.configuration.changes.references import check_references
from app.configuration.changes.rows import read_entries, write
from app.configuration.changes.sealing import seal_secrets
from app.database import Connection, sql
from app.environments.models import Properties
from app.environments.service import unknown_environment
from app.errors import Conflict, Invalid, NotFound, Stale, Violation
from app.names import KEY_RULE, is_key
from app.secrets.vault import Vault
from app.threads import free_later, in_turn

# These bring back entries of the past, whose keys were once good.
_UNDOING = {ChangeKind.REVERT, ChangeKind.RESTORE}
# These lead back to, or over to, what has been: a key may have been of another kind there.
_RETURNING = {ChangeKind.REVERT, ChangeKind.RESTORE, ChangeKind.PROMOTE}

_VIOLATIONS_MAX = 20
# The event loop checks as many itself.
_QUICK_OPERATIONS = 500
# In the text of an error; its fields name more.
_STALE_NAMED_MAX = 10


async def apply(
    connection: Connection,
    environment: str,
    operations: Sequence[Operation],
    *,
    actor: str,
    kind: ChangeKind = ChangeKind.EDIT,
    message: str = "",
    patch: PropertiesPatch | None = None,
    vault: Vault | None = None,
) -> ChangeSet:
    """Make one change set of the operations, whose keys differ, and return it with its revision.

    `patch` is of the environment's own properties. Without a vault secrets are refused, as without
    a key ring. Raises NotFound for the environment or for a key to delete, Stale that names every
    key whose version is not the expected one (or the environment, for the patch), Conflict when a
    key would change its kind, Invalid for a key out of shape, TooLarge for metadata, and for
    references as `check_references` does. The caller's transaction is to be given up
    then, and the revision with it.
    """
    if kind not in _UNDOING:
        _check_keys(operations)
    advanced = await sql.advance_revision(connection, environment=environment)
    if advanced is None:
        raise unknown_environment()
    properties = _properties(advanced, patch) if patch is not None else None
    entries = await read_entries(
        connection, environment, [operation.key for operation in operations]
    )

    def check() -> list[Change]:
        _check(operations, entries, epoch=advanced["epoch"], kinds_fixed=kind not in _RETURNING)
        return [_change(operation, entries[operation.key]) for operation in operations]

    changes = await in_turn("check", check) if len(operations) > _QUICK_OPERATIONS else check()
    free_later(entries, changes)
    changes = await seal_secrets(connection, vault or Vault(), environment, changes)
    lenient = {operation.key for operation in operations if operation.is_lenient}
    warnings = await check_references(
        connection,
        environment,
        changes,
        lenient=all(operation.is_lenient for operation in operations),
    )
    change_set = ChangeSet(
        environment=environment,
        revision=advanced["revision"],
        epoch=advanced["epoch"],
        changes=changes,
        properties=properties,
        warnings=warnings,
    )
    said: dict[str, Any] = {
        "environment": environment,
        "revision": change_set.revision,
        "kind": kind,
        "actor": actor,
        "message": message,
    }
    previous, created_at = advanced["previous_hash"] or GENESIS, advanced["created_at"]
    made_hash = await run_by_size(
        changes,
        "link",
        partial(
            link_hash,
            previous,
            **said,
            created_at=created_at,
            changes=changes,
            properties=properties,
        ),
    )
    await sql.insert_change_set(connection, **said, hash=made_hash)
    await write(connection, change_set)
    await check_compiling(connection, environment, changes, exempt=lenient)
    await check_guards(
        connection,
        environment,
        changes,
        created_at,
        rebucketed=properties is not None
        and properties.before.fractional != properties.after.fractional,
    )
    return change_set


def _check_keys(operations: Sequence[Operation]) -> None:
    """Refuse to write keys out of shape; an entry that has one can still be deleted."""
    wrong = [each.key for each in operations if each.content is not None and not is_key(each.key)]
    if wrong:
        violations = [Violation(key, KEY_RULE) for key in wrong[:_VIOLATIONS_MAX]]
        raise Invalid("key_invalid", f"{wrong[0]}: {KEY_RULE}", violations)


def _properties(advanced: Any, patch: PropertiesPatch) -> PropertiesChange:
    """Return what the patch does to the properties that are there."""
    names = Properties.__struct_fields__
    before = Properties(**{name: advanced[name] for name in names})
    if patch.expected is not None and not patch.expected.is_met(before.version, advanced["epoch"]):
        raise stale_environment(before.version, advanced["epoch"])
    return PropertiesChange(before=before, after=patched(before, patch))


def stale_environment(version: int, epoch: str) -> Stale:
    """Return the error for properties that have another version than the expected one."""
    there = f"is at version {version}"
    return Stale(
        f"The environment {there}.",
        version=version,
        epoch=epoch,
        violations=[Violation("environment", there)],
    )


def _is_stored(operation: Operation, entry: Entry) -> bool:
    """Tell whether the entry has the operation's definition already."""
    wanted, found = operation.content, entry.content
    return (
        wanted is not None
        and found is not None
        and wanted.kind is found.kind
        and are_equal(wanted.value, found.value)
    )


def _check(
    operations: Sequence[Operation], entries: dict[str, Entry], *, epoch: str, kinds_fixed: bool
) -> None:
    refused = [
        operation.refusal
        for operation in operations
        if operation.refusal is not None and not _is_stored(operation, entries[operation.key])
    ]
    if refused:
        violations = [violation for error in refused for violation in error.violations]
        raise Invalid(refused[0].code, refused[0].message, violations)
    stale = [
        (operation, entries[operation.key])
        for operation in operations
        if operation.expected is not None
        and not operation.expected.is_met(entries[operation.key].version, epoch)
    ]
    if stale:
        named = [entry for _, entry in stale[:_STALE_NAMED_MAX]]
        rest = f"; and {len(stale) - len(named)} more" if len(stale) > len(named) else ""
        raise Stale(
            "; ".join(map(_what_is_there, named)) + rest,
            version=stale[0][1].version,
            epoch=epoch,
            violations=[Violation(entry.key, _what_is_there(entry)) for _, entry in stale],
        )
    for operation in operations:
        found = entries[operation.key].content
        if operation.content is None and found is None:
            raise NotFound("configuration_unknown", "There is no such configuration.")
        kind_changes = operation.content and found and operation.content.kind is not found.kind
        if kinds_fixed and kind_changes and found:
            raise Conflict(
                "kind_fixed",
                f"The entry is a {found.kind}; a kind never changes. Delete it and make it anew.",
                [Violation("kind", f"must be {found.kind}")],
            )


def _what_is_there(entry: Entry) -> str:
    if entry.version is None:
        return f"{entry.key} does not exist"
    return f"{entry.key} is at version {entry.version}"


def _change(operation: Operation, entry: Entry) -> Change:
    deleted = operation.content is None
    return Change(
        key=operation.key,
        before=entry,
        after=operation.content,
        version=None if deleted else entry.last_version + 1,
    )
