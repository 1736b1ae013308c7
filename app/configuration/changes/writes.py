"""Writes of several keys: a list of operations, a revert, a restore, a promotion.

Each runs in the caller's transaction and returns what it made.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from operator import itemgetter

import msgspec

from app.configuration.changes import plans, service
from app.configuration.changes.history import Moment, revision_of
from app.configuration.changes.models import ChangeKind, Content, Expected, Kind, Operation
from app.configuration.changes.properties import Intent, Patch, check_members, patch_towards
from app.configuration.changes.requests import (
    DeleteOperation,
    NewChangeSet,
    NewEnvironment,
    NewPatch,
    PatchOperation,
    PutOperation,
)
from app.configuration.changes.values import SCHEMA_TOO_COSTLY, check_but_definition
from app.configuration.changes.views import MadeChangeSet, MadeChangeSets, made_view
from app.configuration.json_schema.pool import RequestCheck
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment, Properties
from app.errors import Conflict, Invalid, Violation, invalid
from app.names import KEY_RULE, is_key, is_stored_key
from app.secrets.vault import Vault

_VIOLATIONS_MAX = 100

Work = Callable[[Connection], Awaitable[MadeChangeSets]]


def intents_of(wanted: NewChangeSet, environment: str, check: RequestCheck) -> Mapping[str, Intent]:
    """Return what is wanted of each environment. Raises Invalid that names all that is wrong.

    Raises TooLarge and Unavailable, too.
    """
    found: dict[str, list[Operation]] = defaultdict(list)
    patches: dict[str, Patch] = {}
    violations: list[Violation] = []
    seen: set[tuple[str, str]] = set()
    for position, operation in enumerate(wanted.operations):
        field, key = "op", ""
        if not isinstance(operation, PatchOperation):
            field, key = "key", operation.key
        place = (operation.environment or environment, key)
        is_known = is_stored_key if isinstance(operation, DeleteOperation) else is_key
        if field == "key" and not is_known(key):
            violations.append(Violation(f"operations[{position}].key", KEY_RULE))
        elif place in seen:
            violations.append(Violation(f"operations[{position}].{field}", "must be named once"))
        seen.add(place)
        try:
            if isinstance(operation, PatchOperation):
                patches[place[0]] = patch_of(operation, Expected(version=operation.version))
            else:
                found[place[0]].append(_operation(operation, check, position))
        except Invalid as error:
            if error.code == SCHEMA_TOO_COSTLY:
                # The budget of the request is spent: the rest cannot be checked.
                rule = f"{error.violations[0].rule} and those before it ({key})"
                field = f"operations[{position}].schema"
                raise Invalid(error.code, f"{field}: {rule}", [Violation(field, rule)]) from None
            violations += _at(position, error).violations
        if len(violations) >= _VIOLATIONS_MAX:
            break
    if violations:
        # With the definitions that would be refused unless the same ones are stored.
        made = [operation for operations in found.values() for operation in operations]
        violations += [found for each in made if each.refusal for found in each.refusal.violations]
        violations.sort(key=_position)
        first = violations[0]
        message = f"{first.field}: {first.rule}"
        raise Invalid("operations_invalid", message, violations[:_VIOLATIONS_MAX])
    return {
        name: Intent(operations=found.get(name, ()), patch=patches.get(name))
        for name in found.keys() | patches.keys()
    }


def _at(position: int, error: Invalid) -> Invalid:
    """Return the error with fields that name the operation."""
    violations = [
        Violation(f"operations[{position}].{each.field}", each.rule) for each in error.violations
    ]
    first = violations[0]
    return Invalid("operations_invalid", f"{first.field}: {first.rule}", violations)


def _position(violation: Violation) -> int:
    return int(violation.field.removeprefix("operations[").partition("]")[0])


def patch_of(wanted: NewPatch | PatchOperation, expected: Expected | None) -> Patch:
    """Return the patch. Raises Invalid that names what is wrong with it."""
    patch = Patch(
        metadata=wanted.metadata,
        fractional=wanted.fractional or None,
        protected=None if wanted.protected is msgspec.UNSET else wanted.protected,
        expected=expected,
    )
    if patch == Patch(expected=expected):
        raise invalid("metadata", "must be given, or fractional, or protected")
    check_members(patch.metadata)
    return patch


async def apply(
    connection: Connection,
    intents: Mapping[str, Intent],
    *,
    actor: str,
    message: str,
    kind: ChangeKind = ChangeKind.EDIT,
    vault: Vault | None = None,
) -> MadeChangeSets:
    """Make one change set in each environment. Raises as `service.apply` does."""
    made: list[MadeChangeSet] = []
    # In the order of their names, so that two such writes never wait for each other in a circle.
    for environment, intent in sorted(intents.items(), key=itemgetter(0)):
        if intent.operations or intent.patch:
            change_set = await service.apply(
                connection,
                environment,
                intent.operations,
                actor=actor,
                kind=kind,
                message=message,
                vault=vault,
                patch=intent.patch,
            )
            made.append(await made_view(change_set))
    return MadeChangeSets(change_sets=made)


async def create_environment(
    connection: Connection, wanted: NewEnvironment, *, actor: str
) -> Environment:
    """Make an environment; its first change set says who did, and what it says of itself.

    Raises as `environments.insert` does, and Invalid or TooLarge for its metadata.
    """
    check_members(wanted.metadata)
    await environments.insert(connection, wanted.name, wanted.tier)
    await service.apply(
        connection,
        wanted.name,
        (),
        actor=actor,
        message=wanted.message or "Create the environment",
        patch=Patch(
            metadata=wanted.metadata, fractional=wanted.fractional, protected=wanted.protected
        ),
    )
    return await environments.get(connection, wanted.name)


async def delete_environment(
    connection: Connection, name: str, *, expected: Expected, actor: str, message: str
) -> Environment:
    """Delete an environment: its last change set empties it and closes its history, which stays.

    Its data keys are destroyed. Returns it as it was closed. `expected` is of the properties'
    version. Raises NotFound; Stale; Conflict for a protected one.
    """
    await environments.lock(connection, name)
    current = await environments.get(connection, name)
    if not expected.is_met(current.version, current.epoch):
        raise service.stale_environment(current.version, current.epoch)
    if current.protected:
        raise Conflict(
            "environment_protected",
            "The environment is protected. Set protected to false before you delete it.",
            [Violation("protected", "must be false")],
        )
    keys = [
        row["key"] async for row in sql.list_keys(connection, environment=name, kinds=sorted(Kind))
    ]
    first = Properties(metadata={}, fractional="v3", protected=False, version=current.version)
    await service.apply(
        connection,
        name,
        [Operation(key=key, content=None, expected=None) for key in keys],
        actor=actor,
        kind=ChangeKind.DELETE,
        message=message or "Delete the environment",
        patch=patch_towards(first, current.properties),
    )
    closed = await environments.get(connection, name)
    await sql.close_environment(connection, name=name)
    await sql.forget_answers_about(connection, environment=name)
    return closed


async def revert(
    connection: Connection,
    environment: str,
    revision: int,
    *,
    actor: str,
    message: str,
    vault: Vault,
) -> MadeChangeSets:
    """Make the inverse of a change set. Raises Stale that names each key changed since."""
    intent = await plans.revert(connection, environment, revision)
    return await apply(
        connection,
        {environment: intent},
        actor=actor,
        message=message or f"Revert revision {revision}",
        vault=vault,
        kind=ChangeKind.REVERT,
    )


async def restore(
    connection: Connection,
    environment: str,
    moment: Moment,
    *,
    actor: str,
    message: str,
    vault: Vault,
) -> MadeChangeSets:
    """Make the whole environment as it was. Makes nothing when it is so already."""
    await environments.lock(connection, environment)
    revision = await revision_of(connection, environment, moment)
    intent = await plans.restore(connection, environment, revision)
    return await apply(
        connection,
        {environment: intent},
        actor=actor,
        message=message or f"Restore revision {revision}",
        vault=vault,
        kind=ChangeKind.RESTORE,
    )


async def promote(
    connection: Connection,
    source: str,
    target: str,
    keys: Sequence[str],
    *,
    actor: str,
    message: str,
    may_reveal: bool,
    vault: Vault,
) -> MadeChangeSets:
    """Make keys of the target equal to the source, with the segments that they use."""
    if source == target:
        raise invalid("from", "must be another environment")
    await environments.lock(connection, target)
    intent = await plans.promote(connection, source, target, keys, may_reveal=may_reveal)
    return await apply(
        connection,
        {target: intent},
        actor=actor,
        message=message or f"Promote from {source}",
        vault=vault,
        kind=ChangeKind.PROMOTE,
    )


def contents_of(wanted: NewChangeSet) -> Iterator[Content]:
    """Yield what the change set writes, unchecked."""
    for operation in wanted.operations:
        if isinstance(operation, PutOperation):
            yield _content(operation)


def _operation(
    operation: PutOperation | DeleteOperation, check: RequestCheck, position: int
) -> Operation:
    expected = Expected(version=operation.version or None)
    if isinstance(operation, DeleteOperation):
        return Operation(key=operation.key, content=None, expected=expected)
    content = _content(operation)
    error = check_but_definition(content, check)
    refusal = _at(position, error) if error is not None else None
    return Operation(key=operation.key, content=content, expected=expected, refusal=refusal)


def _content(operation: PutOperation) -> Content:
    return Content(
        kind=Kind(operation.kind),
        value=operation.value,
        schema=operation.schema,
        description=operation.description,
    )
