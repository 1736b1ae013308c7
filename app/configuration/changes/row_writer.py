"""Write the rows of change sets, and announce them.

A small change set is announced with its entries as PostgreSQL has stored them, so that the follower
of this process needs no query.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.configuration.changes.models import (
    ChangeKind,
    ChangeSet,
    Content,
    Kind,
    PropertiesChange,
)
from app.configuration.changes.plan_steps import save_steps
from app.configuration.changes.rows import ROWS_AT_ONCE
from app.configuration.snapshots.change_event import ChangeEventData
from app.configuration.snapshots.own_changes import OwnChange
from app.configuration.snapshots.snapshot import Configuration
from app.database import Commit, Connection, announce, sql
from app.environments.models import Environment

# With ROWS_AT_ONCE, the limit of one statement.
_BYTES_AT_ONCE = 1024 * 1024
# The follower compiles more entries in a thread.
_OWN_KEYS_MAX = 10


async def write(
    connection: Connection, head: Environment, change_sets: Sequence[ChangeSet]
) -> None:
    """Write change sets that follow the head and each other, and announce them.

    No key may have two changes.
    """
    last = change_sets[-1]
    returns_entries = all(map(_is_small, change_sets))
    links = [
        {
            "revision": change_set.revision,
            "kind": change_set.kind,
            "actor": change_set.actor,
            "message": change_set.message,
            "hash": f"\\x{change_set.hash.hex()}",
            **({"approval": change_set.approval} if change_set.approval else {}),
        }
        for change_set in change_sets
    ]
    entries: dict[str, Configuration] = {}
    for changes in _batches(change_sets):
        rows = sql.write_change_sets(
            connection,
            environment=last.environment,
            revision=last.revision,
            hash=last.hash,
            change_sets=links,
            changes=changes,
            returns_entries=returns_entries,
        )
        async for row in rows:
            entries[row["key"]] = Configuration(environment=last.environment, **row)
        links = []
    for change_set in change_sets:
        await save_steps(connection, change_set)
        if change_set.properties is not None:
            await _write_properties(connection, change_set, change_set.properties)
        if returns_entries:
            own_change = _own_change(head, change_set, entries)
            announce(own_change)
            head = own_change.head
        else:
            announce(Commit(environment=change_set.environment, revision=change_set.revision))


def _is_small(change_set: ChangeSet) -> bool:
    """Return whether the follower can apply a change set on the event loop."""
    return (
        change_set.properties is None
        and change_set.kind is not ChangeKind.DELETE
        and len(change_set.changes) <= _OWN_KEYS_MAX
        and not any(
            content is not None and content.kind is Kind.SEGMENT
            for change in change_set.changes
            for content in (change.before.content, change.after)
        )
    )


def _own_change(
    head: Environment, change_set: ChangeSet, entries: dict[str, Configuration]
) -> OwnChange:
    keys = sorted(change.key for change in change_set.changes)
    return OwnChange(
        environment=change_set.environment,
        revision=change_set.revision,
        head=msgspec.structs.replace(
            head, revision=change_set.revision, hash=change_set.hash.hex()
        ),
        previous_hash=head.hash,
        event=ChangeEventData(
            environment=change_set.environment,
            revision=change_set.revision,
            kind=change_set.kind.value,
            actor=change_set.actor,
            message=change_set.message,
            created_at=change_set.created_at,
            keys=keys,
            properties=False,
            approval=change_set.approval,
        ),
        touched=[(key, entries.get(key)) for key in keys],
    )


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
        for name in ("metadata", "fractional", "protected", "protection")
    }
    await sql.write_properties(
        connection,
        environment=change_set.environment,
        revision=change_set.revision,
        version=properties.after.version,
        **columns,
    )


def _batches(change_sets: Sequence[ChangeSet]) -> Iterator[list[dict[str, Any]]]:
    """Yield the changes in batches; the first may be empty."""
    batch: list[dict[str, Any]] = []
    size = 0
    for change_set in change_sets:
        for change in change_set.changes:
            size += change.size
            if batch and (len(batch) == ROWS_AT_ONCE or size > _BYTES_AT_ONCE):
                yield batch
                batch, size = [], change.size
            batch.append(
                {
                    "revision": change_set.revision,
                    "key": change.key,
                    **_members("before", change.before.content, change.before.version),
                    **_members("after", change.after, change.version),
                }
            )
    yield batch
