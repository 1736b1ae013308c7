"""Compare a proposal with the present: what it changes, and which of its keys moved since.

A key that moved has three contents: the one that the author saw (base), the present one (theirs),
and that of the proposal (yours).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from app.configuration.changes.models import Content, Entry, Kind, PropertiesChange
from app.configuration.changes.properties import Intent, PropertiesPatch, patched
from app.configuration.changes.rows import batches_of, content_of, read_entries
from app.configuration.changes.views import (
    ChangeView,
    EntryView,
    PropertiesChangeView,
    change_view,
    entry_view,
    properties_view,
)
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import TooLarge
from app.threads import in_turn


class MovedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that has changed since the author saw it. Null where it does not exist.

    `expected_version` is the version that the author saw; 0 stands for no entry.
    """

    key: str
    expected_version: int
    base: EntryView | None
    theirs: EntryView | None
    yours: EntryView | None


@dataclass(frozen=True, kw_only=True)
class ProposedDifference:
    """The changes of a proposal in one environment, compared with the present.

    `properties_moved` says that the properties have changed since the author saw them.
    """

    environment: Environment
    changes: Sequence[ChangeView]
    conflicts: Sequence[MovedKey]
    properties: PropertiesChangeView | None
    properties_moved: bool


async def compare(connection: Connection, name: str, intent: Intent) -> ProposedDifference:
    """Return what a proposal changes in an environment. Locks nothing. Raises NotFound."""
    environment = await environments.get(connection, name)
    entries = await read_entries(connection, name, [item.key for item in intent.operations])
    moved = {
        item.key: item.expected.version or 0
        for item in intent.operations
        if item.expected is not None
        and not item.expected.is_met(entries[item.key].version, environment.epoch)
    }
    bases = await _bases(
        connection, name, {key: version for key, version in moved.items() if version}
    )

    def views() -> tuple[list[ChangeView], list[MovedKey]]:
        changes, conflicts = [], []
        for item in intent.operations:
            entry = entries[item.key]
            theirs = entry_view(entry.content, entry.version)
            yours = _proposed(item.content, entry)
            changes.append(change_view(item.key, theirs, yours))
            if item.key in moved:
                conflicts.append(
                    MovedKey(
                        key=item.key,
                        expected_version=moved[item.key],
                        base=bases.get(item.key),
                        theirs=theirs,
                        yours=yours,
                    )
                )
        return changes, conflicts

    changes, conflicts = await in_turn("compare", views)
    return ProposedDifference(
        environment=environment,
        changes=sorted(changes, key=lambda change: change.key),
        conflicts=sorted(conflicts, key=lambda conflict: conflict.key),
        properties=_properties(environment, intent.patch),
        properties_moved=intent.patch is not None
        and intent.patch.expected is not None
        and not intent.patch.expected.is_met(environment.version, environment.epoch),
    )


def _proposed(content: Content | None, entry: Entry) -> EntryView | None:
    """Return the content of an operation as a view. That of a secret is masked."""
    if content is None:
        return None
    return EntryView(
        kind=content.kind,
        value=None if content.kind is Kind.SECRET else content.value,
        sealed=content.kind is Kind.SECRET,
        schema=content.schema,
        description=content.description,
        version=entry.last_version + 1,
    )


async def _bases(
    connection: Connection, environment: str, versions: Mapping[str, int]
) -> dict[str, EntryView]:
    """Return the contents that keys had at these versions, from the history."""
    bases = {}
    for keys in batches_of(list(versions)):
        rows = sql.list_proposal_bases(
            connection,
            environment=environment,
            keys=keys,
            versions=[versions[key] for key in keys],
        )
        async for row in rows:
            view = entry_view(content_of(environment, row), row["version"])
            if view is not None:
                bases[row["key"]] = view
    return bases


def _properties(
    environment: Environment, patch: PropertiesPatch | None
) -> PropertiesChangeView | None:
    if patch is None:
        return None
    before = environment.properties
    try:
        return properties_view(PropertiesChange(before=before, after=patched(before, patch)))
    except TooLarge:
        # The trial refuses it.
        return None
