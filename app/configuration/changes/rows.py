"""Read entries from rows, and write the rows of a change set."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from app.configuration.changes.models import (
    Change,
    ChangeSet,
    Content,
    Entry,
    Kind,
    PropertiesChange,
)
from app.configuration.changes.offload import size_of
from app.database import Commit, Connection, announce, sql
from app.environments.models import Properties
from app.secrets.envelope import sealed_of

# The limits of one statement, so that it ends in time.
_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 1024 * 1024


async def read_entries(
    connection: Connection, environment: str, keys: Sequence[str]
) -> dict[str, Entry]:
    """Return the entry of each key, also for keys that have none."""
    entries: dict[str, Entry] = {}
    for batch in batches_of(keys):
        rows = sql.list_entries(connection, environment=environment, keys=batch)
        entries |= {row["key"]: entry_of(environment, row) async for row in rows}
    for batch in batches_of([key for key in keys if key not in entries]):
        rows = sql.list_last_versions(connection, environment=environment, keys=batch)
        last_versions = {row["key"]: row["last_version"] async for row in rows}
        for key in batch:
            last_version = last_versions.get(key, 0)
            entries[key] = Entry(key=key, content=None, version=None, last_version=last_version)
    return entries


def batches_of(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        yield list(keys[start : start + _ROWS_AT_ONCE])


async def all_pages(
    statement: Callable[..., AsyncIterator[Any]], connection: Connection, **arguments: Any
) -> AsyncIterator[Any]:
    """Yield the rows of all pages of a statement that orders its rows by key."""
    after_key = ""
    while True:
        rows = statement(connection, **arguments, after_key=after_key, page_size=_ROWS_AT_ONCE)
        count = 0
        async for row in rows:
            yield row
            count, after_key = count + 1, row["key"]
        if count < _ROWS_AT_ONCE:
            return


def entry_of(environment: str, row: Any) -> Entry:
    version = row["version"]
    content = content_of(environment, row)
    return Entry(key=row["key"], content=content, version=version, last_version=version)


def content_of(environment: str, row: Any, side: str = "") -> Content:
    """Return the content in the columns that begin with `side`: "before_", "after_" or none."""
    return Content(
        kind=Kind(row[f"{side}kind"]),
        value=row[f"{side}value"],
        sealed=sealed_of(environment, row["key"], row[f"{side}version"], row[f"{side}sealed"]),
        schema=row[f"{side}schema"],
        description=row[f"{side}description"],
    )


def properties_change_of(row: Any) -> PropertiesChange:

    sides = ("before", row["version"] - 1), ("after", row["version"])
    before, after = (
        Properties(
            metadata=row[f"{side}_metadata"],
            fractional=row[f"{side}_fractional"],
            protected=row[f"{side}_protected"],
            version=version,
        )
        for side, version in sides
    )
    return PropertiesChange(before=before, after=after)


async def write(connection: Connection, change_set: ChangeSet, hash_: bytes) -> None:
    """Write a change set, its changes, the entries and the properties. Announce it."""
    await sql.insert_change_set(
        connection,
        environment=change_set.environment,
        revision=change_set.revision,
        kind=change_set.kind,
        actor=change_set.actor,
        message=change_set.message,
        hash=hash_,
    )
    for changes in _batches(change_set.changes):
        await sql.write_changes(
            connection,
            environment=change_set.environment,
            revision=change_set.revision,
            changes=[
                {
                    "key": change.key,
                    **_members("before", change.before.content, change.before.version),
                    **_members("after", change.after, change.version),
                }
                for change in changes
            ],
        )
    if change_set.properties is not None:
        await _write_properties(connection, change_set, change_set.properties)
    announce(Commit(environment=change_set.environment, revision=change_set.revision))


def _members(side: str, content: Content | None, version: int | None) -> dict[str, Any]:
    """Return the columns of one side of a change, without those that are null."""
    if content is None:
        return {}
    members: dict[str, Any] = {f"{side}_kind": content.kind, f"{side}_version": version}
    if content.sealed is not None:
        members[f"{side}_sealed"] = f"\\x{content.sealed.content.hex()}"
    else:
        members[f"{side}_value"] = content.value
    if content.schema is not None:
        members[f"{side}_schema"] = content.schema
    if content.description is not None:
        members[f"{side}_description"] = content.description
    return members


async def _write_properties(
    connection: Connection, change_set: ChangeSet, properties: PropertiesChange
) -> None:
    sides = {"before": properties.before, "after": properties.after}
    columns = {
        f"{side}_{name}": getattr(values, name)
        for side, values in sides.items()
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
        size += size_of(change)
        if batch and (len(batch) == _ROWS_AT_ONCE or size > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], size_of(change)
        batch.append(change)
    if batch:
        yield batch
