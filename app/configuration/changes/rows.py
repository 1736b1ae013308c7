"""Lock an environment, and read entries and properties from rows."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.configuration.changes.models import Content, Entry, Kind, PropertiesChange
from app.database import Connection, sql
from app.environments.models import Environment, Properties
from app.environments.protection import protection_of
from app.environments.service import unknown_environment
from app.secrets.envelope import sealed_of

# The limit of one statement, so that it ends in time.
ROWS_AT_ONCE = 1_000
# Each row of lock_entries repeats the environment, so more entries are read by another statement.
_KEYS_WITH_LOCK = 100


@dataclass(frozen=True, kw_only=True)
class Locked:
    """An environment that the transaction has locked, and the entries that it may change.

    `created_at` is the time of the transaction's change sets.
    """

    environment: Environment
    created_at: datetime
    entries: dict[str, Entry]


async def lock_entries(connection: Connection, environment: str, keys: Sequence[str]) -> Locked:
    """Lock the environment, and return it with the entry of each key. Raises NotFound."""
    joined = keys if len(keys) <= _KEYS_WITH_LOCK else []
    rows = [row async for row in sql.lock_entries(connection, environment=environment, keys=joined)]
    if not rows:
        raise unknown_environment()
    head = rows[0]
    entries = {row["key"]: _locked_entry(environment, row) for row in rows if joined}
    # Resealing changes sealed values under the lock without a new revision.
    may_be_old = any(entry.content and entry.content.sealed for entry in entries.values())
    if len(entries) < len(keys) or may_be_old or not head["is_current"]:
        entries = await read_entries(connection, environment, keys)
    return Locked(
        environment=Environment(
            name=head["name"],
            tier=head["tier"],
            revision=head["revision"],
            epoch=head["epoch"],
            hash=head["hash"],
            protected=head["protected"],
            fractional=head["fractional"],
            metadata=head["metadata"],
            version=head["properties_version"],
            first_revision=head["first_revision"],
            protection=protection_of(head["protection"]),
        ),
        created_at=head["created_at"],
        entries=entries,
    )


def _locked_entry(environment: str, row: Any) -> Entry:
    if row["version"] is not None:
        return entry_of(environment, row)
    last_version = row["last_version"] or 0
    return Entry(key=row["key"], content=None, version=None, last_version=last_version)


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
    for start in range(0, len(keys), ROWS_AT_ONCE):
        yield list(keys[start : start + ROWS_AT_ONCE])


async def all_pages(
    statement: Callable[..., AsyncIterator[Any]], connection: Connection, **arguments: Any
) -> AsyncIterator[Any]:
    """Yield the rows of all pages of a statement that orders its rows by key."""
    after_key = ""
    while True:
        rows = statement(connection, **arguments, after_key=after_key, page_size=ROWS_AT_ONCE)
        count = 0
        async for row in rows:
            yield row
            count, after_key = count + 1, row["key"]
        if count < ROWS_AT_ONCE:
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
            protection=protection_of(row[f"{side}_protection"]),
        )
        for side, version in sides
    )
    return PropertiesChange(before=before, after=after)
