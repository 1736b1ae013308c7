"""Plan a revert, a restore or a promotion: read the differences, and write nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from app.access.models import Scope
from app.access.permissions import ALL_KEYS, Keys, Rights
from app.access.refusals import BY_ADMINISTRATOR, limits
from app.configuration.changes import history, past
from app.configuration.changes.authority import outside, require_keys
from app.configuration.changes.json_patch import have_same_content
from app.configuration.changes.models import ChangeKind, Entry, Kind, Operation
from app.configuration.changes.past import Moment
from app.configuration.changes.properties import Intent, patch_towards
from app.configuration.changes.references import used_names
from app.configuration.changes.rows import all_pages, content_of
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Forbidden, NotFound, Violation, invalid
from app.http.conditions import ExpectedVersion
from app.names import first_words, prefixes_rule
from app.threads import free_later, in_turn

# The text of an error names at most 10 keys; its violations name all.
_NAMED_MAX = 10


@dataclass(frozen=True, kw_only=True)
class ChangePlan:
    """A change set to make. `message` is for the history when the caller gives none."""

    environment: str
    intent: Intent
    kind: ChangeKind
    message: str


def narrowed(rights: Rights, environment: str, prefixes: Sequence[str]) -> Keys:
    """Return the keys below the prefixes, without prefixes all keys. Raises Invalid and Forbidden.

    The caller must hold each prefix: a refusal by key would tell whether foreign keys changed.
    """
    if rule := prefixes_rule(prefixes):
        raise invalid("prefixes", rule)
    if not prefixes:
        return ALL_KEYS
    only = Keys.below(prefixes)
    own = own_keys(rights, environment)
    if not own.includes(only):
        raise Forbidden(
            "key_foreign",
            f"Your rights in {environment} do not cover these prefixes. "
            f"{limits(Scope.PROPOSE, own)}",
        )
    return only


def own_keys(rights: Rights, environment: str) -> Keys:
    """Return the keys that a caller may read and change, directly or by a proposal."""
    return rights.keys(Scope.READ, environment) & rights.keys(Scope.PROPOSE, environment)


async def revert(
    connection: Connection, environment: str, revision: int, *, keys: Keys, only: Keys = ALL_KEYS
) -> ChangePlan:
    """Plan the inverse of a change set. Raises NotFound, also if the caller may read none of it.

    `only` limits it to some keys, without the properties. All keys include the properties.

    Each operation expects the version that the change set wrote. So applying the plan raises Stale
    with each key that has changed since; the same holds for the properties.
    """
    _, properties = await history.find(connection, environment, revision, keys)
    rows = all_pages(sql.list_before, connection, environment=environment, revision=revision)
    operations = [
        Operation(
            key=row["key"],
            content=content_of(environment, row) if row["version"] else None,
            expected=ExpectedVersion(version=row["after_version"]),
        )
        async for row in rows
        if row["key"] in only
    ]
    free_later(operations)
    patch = None
    if properties is not None and only.is_all:
        expected = ExpectedVersion(version=properties.after.version)
        before = msgspec.structs.replace(properties.before, protection=properties.after.protection)
        patch = patch_towards(before, properties.after, expected=expected)
    return ChangePlan(
        environment=environment,
        intent=Intent(operations=operations, patch=patch),
        kind=ChangeKind.REVERT,
        message=f"Revert revision {revision}" + ("" if only.is_all else " in part"),
    )


async def restore(
    connection: Connection, environment: str, moment: Moment, *, only: Keys = ALL_KEYS
) -> ChangePlan:
    """Plan to make the whole environment as it was at a moment. Locks the environment.

    `only` limits it to some keys, without the properties. All keys include the properties.
    `protected` and `protection` stay as they are now. Entries that were imported leniently are
    restored too.
    """
    await environments.lock(connection, environment)
    revision = await past.revision_of(connection, environment, moment)
    current = await environments.get(connection, environment)
    pages = past.changed_keys(connection, environment, revision, current.revision, keys=only)
    keys = [key async for page in pages for key in page]
    target_entries = await past.entries_at(connection, environment, revision, keys)
    entries = await past.entries_at(connection, environment, current.revision, keys)
    properties = msgspec.structs.replace(
        await past.properties_at(connection, current, revision),
        protected=current.protected,
        protection=current.protection,
    )
    operations = await in_turn(
        "compare", lambda: _operations(target_entries, entries, keys, is_lenient=True)
    )
    free_later(target_entries, entries, operations)
    patch = patch_towards(properties, current.properties) if only.is_all else None
    return ChangePlan(
        environment=environment,
        intent=Intent(operations=operations, patch=patch),
        kind=ChangeKind.RESTORE,
        message=f"Restore revision {revision}" + ("" if only.is_all else " in part"),
    )


async def promote(
    connection: Connection, source: str, target: str, keys: Sequence[str], *, rights: Rights
) -> ChangePlan:
    """Plan to make keys of the target equal to the source. Locks the target.

    Includes the segments that the keys use and the flags that they need, directly or through
    others. Properties are not changed.
    Each key needs the scope read in the source, and in the target too: a plan without a change says
    that both are equal. A secret needs the scope reveal in the source, because another token may
    reveal it in the target. Raises Forbidden, and NotFound for keys that neither
    environment has.
    """
    if source == target:
        raise invalid("from", "must be another environment")
    # Before all reads, which would tell whether foreign entries exist.
    require_keys(rights, Scope.READ, source, keys)
    require_keys(rights, Scope.READ, target, keys)
    require_keys(rights, Scope.PROPOSE, target, keys)
    await environments.lock(connection, target)
    source_entries = await _all(connection, source)
    entries = await _all(connection, target)
    chosen = set(keys)
    if unknown := sorted(chosen - source_entries.keys() - entries.keys()):
        raise NotFound(
            "configuration_unknown",
            f"Neither environment has {first_words(unknown, _NAMED_MAX)}.",
            [Violation(key, "is in neither environment") for key in unknown],
        )
    operations = await in_turn(
        "compare",
        lambda: _operations(
            source_entries, entries, sorted(with_dependencies(chosen, source_entries))
        ),
    )
    free_later(source_entries, entries, operations)
    require_keys(rights, Scope.READ, source, [item.key for item in operations])
    sealed = [item.key for item in operations if item.content and item.content.sealed]
    if outside(rights.keys(Scope.REVEAL, source), sealed):
        raise Forbidden(
            "scope_missing", f"Promoting a secret needs the scope reveal. {BY_ADMINISTRATOR}"
        )
    return ChangePlan(
        environment=target,
        intent=Intent(operations=operations),
        kind=ChangeKind.PROMOTE,
        # Readers of the target may not know the source.
        message="Promote from another environment",
    )


def with_dependencies(keys: set[str], entries: Mapping[str, Entry]) -> set[str]:
    """Return the keys, and the segments and flags that they use, directly or through others."""
    complete: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in complete:
            continue
        complete.add(key)
        entry = entries.get(key)
        if entry is None or entry.content is None:
            continue
        waiting += [name for name in used_names(entry.content) if _is_rule(entries.get(name))]
    return complete


def _is_rule(entry: Entry | None) -> bool:
    return (
        entry is not None
        and entry.content is not None
        and entry.content.kind in {Kind.FLAG, Kind.SEGMENT}
    )


async def _all(connection: Connection, environment: str) -> dict[str, Entry]:
    revision = (await environments.get(connection, environment)).revision
    return await past.all_entries_at(connection, environment, revision, keys=ALL_KEYS)


def _operations(
    targets: Mapping[str, Entry],
    entries: Mapping[str, Entry],
    keys: Iterable[str],
    *,
    is_lenient: bool = False,
) -> list[Operation]:
    operations = []
    for key in keys:
        target, current = targets.get(key), entries.get(key)
        expected = ExpectedVersion(version=current.version if current else None)
        if target is None and current is not None:
            content = None
        elif target is not None and not _same(target, current):
            content = target.content
        else:
            continue
        operations.append(
            Operation(key=key, content=content, expected=expected, is_lenient=is_lenient)
        )
    return operations


def _same(target: Entry, current: Entry | None) -> bool:
    if current is None or current.content is None or target.content is None:
        return False
    return have_same_content(target.content, current.content)
