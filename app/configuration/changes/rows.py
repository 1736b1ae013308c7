"""Entries and changes as rows: what is there, and what a change set writes."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec

from app.configuration.changes.models import (
    Change,
    ChangeSet,
    Content,
    Entry,
    Kind,
    PropertiesChange,
)
from app.configuration.changes.turns import size_of
from app.database import Connection, sql
from app.environments.models import Properties
from app.secrets.models import sealed_of

# What one statement may carry, so that it keeps to its time.
_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 1024 * 1024


async def read_entries(
    connection: Connection, environment: str, keys: Sequence[str]
) -> dict[str, Entry]:
    """Return what is under each of the keys, for whoever compares before writing."""
    entries: dict[str, Entry] = {}
    for some in slices_of(keys):
        rows = sql.list_entries(connection, environment=environment, keys=some)
        entries |= {row["key"]: _entry(environment, row) async for row in rows}
    for some in slices_of([key for key in keys if key not in entries]):
        rows = sql.list_last_versions(connection, environment=environment, keys=some)
        last_versions = {row["key"]: row["last_version"] async for row in rows}
        for key in some:
            last_version = last_versions.get(key, 0)
            entries[key] = Entry(key=key, content=None, version=None, last_version=last_version)
    return entries


def slices_of(keys: Sequence[str]) -> Iterator[list[str]]:
    """Yield the keys, as many at a time as one statement may ask for."""
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        yield list(keys[start : start + _ROWS_AT_ONCE])


async def all_pages(
    statement: Callable[..., AsyncIterator[Any]], connection: Connection, **arguments: Any
) -> AsyncIterator[Any]:
    """Yield the rows of every page of a statement that gives them in the order of their keys."""
    after_key = ""
    while True:
        rows = statement(connection, **arguments, after_key=after_key, page_size=_ROWS_AT_ONCE)
        count = 0
        async for row in rows:
            yield row
            count, after_key = count + 1, row["key"]
        if count < _ROWS_AT_ONCE:
            return


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


def properties_change_of(row: Any) -> PropertiesChange:
    """Return what a row of `property_changes` tells of."""
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


async def write(connection: Connection, change_set: ChangeSet) -> None:
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
        size += size_of(change)
        if batch and (len(batch) == _ROWS_AT_ONCE or size > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], size_of(change)
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
