"""Making a change set, in the caller's transaction."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from app.changes.chain import GENESIS, link
from app.changes.guards import check_guards
from app.changes.models import (
    Change,
    ChangeKind,
    ChangeSet,
    Content,
    Entry,
    Kind,
    Operation,
    PropertiesChange,
)
from app.changes.properties import Patch, patched
from app.changes.references import check_references
from app.changes.sealing import without_values
from app.database import Connection, sql
from app.database.threads import in_thread
from app.environments.models import Properties
from app.environments.service import unknown_environment
from app.errors import Conflict, NotFound, Stale, Violation
from app.vault.models import sealed_of
from app.vault.vault import Vault

# These lead back to, or over to, what has been: a key may have been of another kind there.
_RETURNING = {ChangeKind.REVERT, ChangeKind.RESTORE, ChangeKind.PROMOTE}

# What one statement may carry, so that it keeps to its time.
_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 1024 * 1024
_QUICK_BYTES = 32 * 1024


async def apply(
    connection: Connection,
    environment: str,
    operations: Sequence[Operation],
    *,
    actor: str,
    kind: ChangeKind = ChangeKind.EDIT,
    message: str = "",
    patch: Patch | None = None,
    vault: Vault | None = None,
) -> ChangeSet:
    """Make one change set of the operations, whose keys differ, and return it with its revision.

    `patch` is of the environment's own properties. Without a vault secrets are refused, as without
    a key ring. Raises NotFound for the environment or for a key to delete, Stale that names every
    key whose version is not the expected one (or the environment, for the patch), Conflict when a
    key would change its kind, TooLarge for metadata, and for references as `check_references` does.
    The caller's transaction is to be given up then, and the revision with it.
    """
    advanced = await sql.advance_revision(connection, environment=environment)
    if advanced is None:
        raise unknown_environment()
    properties = _properties(advanced, patch) if patch is not None else None
    entries = await read_entries(
        connection, environment, [operation.key for operation in operations]
    )
    _check(operations, entries, epoch=advanced["epoch"], kinds_fixed=kind not in _RETURNING)
    changes = [_change(operation, entries[operation.key]) for operation in operations]
    changes = await without_values(connection, vault or Vault(), environment, changes)
    await check_references(connection, environment, changes)
    change_set = ChangeSet(
        environment=environment,
        revision=advanced["revision"],
        epoch=advanced["epoch"],
        changes=changes,
        properties=properties,
    )
    said: dict[str, Any] = {
        "environment": environment,
        "revision": change_set.revision,
        "kind": kind,
        "actor": actor,
        "message": message,
    }
    previous, created_at = advanced["previous_hash"] or GENESIS, advanced["created_at"]
    made_hash = await _linked(
        partial(
            link,
            previous,
            **said,
            created_at=created_at,
            changes=changes,
            properties=properties,
        ),
        changes,
    )
    await sql.insert_change_set(connection, **said, hash=made_hash)
    await _write(connection, change_set)
    await check_guards(
        connection,
        environment,
        changes,
        created_at,
        rebucketed=properties is not None
        and properties.before.fractional != properties.after.fractional,
    )
    return change_set


def _properties(advanced: Any, patch: Patch) -> PropertiesChange:
    """Return what the patch does to the properties that are there."""
    names = Properties.__struct_fields__
    before = Properties(**{name: advanced[name] for name in names})
    if patch.expected is not None and not patch.expected.is_met(before.version, advanced["epoch"]):
        there = f"is at version {before.version}"
        raise Stale(
            f"The environment {there}.",
            version=before.version,
            epoch=advanced["epoch"],
            violations=[Violation("environment", there)],
        )
    return PropertiesChange(before=before, after=patched(before, patch))


async def _linked(make: Callable[[], bytes], changes: Sequence[Change]) -> bytes:
    """Return the hash, made beside the event loop where that takes more than a moment."""
    size = sum(map(_size, changes))
    return await in_thread("link", make) if size > _QUICK_BYTES else make()


def _size(change: Change) -> int:
    """Return how many bytes of JSON a change carries, roughly."""
    sides = (change.before.content, change.after)
    return sum(
        len(msgspec.json.encode(each.value)) + len(each.sealed.content if each.sealed else b"")
        for each in sides
        if each is not None
    )


async def read_entries(
    connection: Connection, environment: str, keys: Sequence[str]
) -> dict[str, Entry]:
    """Return what is under each of the keys, for whoever compares before writing."""
    rows = sql.list_entries(connection, environment=environment, keys=list(keys))
    entries = {row["key"]: _entry(environment, row) async for row in rows}
    missing = [key for key in keys if key not in entries]
    if missing:
        rows = sql.list_last_versions(connection, environment=environment, keys=missing)
        last_versions = {row["key"]: row["last_version"] async for row in rows}
        for key in missing:
            last_version = last_versions.get(key, 0)
            entries[key] = Entry(key=key, content=None, version=None, last_version=last_version)
    return entries


def _entry(environment: str, row: Any) -> Entry:
    content = Content(
        kind=Kind(row["kind"]),
        value=row["value"],
        sealed=sealed_of(environment, row["key"], row["version"], row["sealed"]),
        schema=row["schema"],
        description=row["description"],
    )
    return Entry(
        key=row["key"], content=content, version=row["version"], last_version=row["version"]
    )


def _check(
    operations: Sequence[Operation], entries: dict[str, Entry], *, epoch: str, kinds_fixed: bool
) -> None:
    stale = [
        (operation, entries[operation.key])
        for operation in operations
        if operation.expected is not None
        and not operation.expected.is_met(entries[operation.key].version, epoch)
    ]
    if stale:
        raise Stale(
            "; ".join(_what_is_there(entry) for _, entry in stale),
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


async def _write(connection: Connection, change_set: ChangeSet) -> None:
    """Write the rows: arrays, so that a thousand small entries are as many statements as one."""
    for changes in _batches(change_set.changes):
        before = _columns([change.before.content for change in changes])
        after = _columns([change.after for change in changes])
        await sql.write_changes(
            connection,
            environment=change_set.environment,
            revision=change_set.revision,
            keys=[change.key for change in changes],
            before_versions=[change.before.version for change in changes],
            after_versions=[change.version for change in changes],
            **{f"before_{name}": column for name, column in before.items()},
            **{f"after_{name}": column for name, column in after.items()},
        )
    if change_set.properties is not None:
        await _write_properties(connection, change_set, change_set.properties)


async def _write_properties(
    connection: Connection, change_set: ChangeSet, properties: PropertiesChange
) -> None:
    sides = {"before": properties.before, "after": properties.after}
    columns = {
        f"{side}_{name}": getattr(each, name)
        for side, each in sides.items()
        for name in ("metadata", "fractional", "protected")
    }
    await sql.write_properties(
        connection,
        environment=change_set.environment,
        revision=change_set.revision,
        version=properties.after.version,
        **columns,
    )


def _batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    batch: list[Change] = []
    size = 0
    for change in changes:
        size += _size(change)
        if batch and (len(batch) == _ROWS_AT_ONCE or size > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], _size(change)
        batch.append(change)
    if batch:
        yield batch


def _columns(contents: Sequence[Content | None]) -> dict[str, list[Any]]:
    return {
        "kinds": [content and content.kind for content in contents],
        "values": [
            None if content is None or content.sealed else _json(content.value)
            for content in contents
        ],
        "sealed": [content and content.sealed and content.sealed.content for content in contents],
        "schemas": [content and content.schema for content in contents],
        "descriptions": [content and content.description for content in contents],
    }


def _json(value: Any) -> msgspec.Raw:
    # Raw, since a bare None would become SQL's null where JSON's is meant.
    return msgspec.Raw(msgspec.json.encode(value))
