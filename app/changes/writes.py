"""Writes of several keys: a list of operations, a revert, a restore, a promotion.

Each runs in the caller's transaction and returns what it made.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.changes import plans, service
from app.changes.history import Moment, revision_of
from app.changes.models import ChangeKind, Content, Expected, Kind, Operation
from app.changes.values import check_content
from app.changes.views import (
    DeleteOperation,
    MadeChangeSet,
    MadeChangeSets,
    NewChangeSet,
    PutOperation,
    made_view,
)
from app.database import Connection
from app.environments import service as environments
from app.errors import Invalid, Violation, invalid
from app.naming import KEY_RULE, is_key
from app.vault.vault import Vault

Work = Callable[[Connection], Awaitable[MadeChangeSets]]


def operations_of(wanted: NewChangeSet, environment: str) -> Mapping[str, Sequence[Operation]]:
    """Return the operations by environment. Raises Invalid that names every wrong one."""
    found: dict[str, list[Operation]] = defaultdict(list)
    violations: list[Violation] = []
    seen: set[tuple[str, str]] = set()
    for position, operation in enumerate(wanted.operations):
        place = (operation.environment or environment, operation.key)
        if not is_key(operation.key):
            violations.append(Violation(f"operations[{position}].key", KEY_RULE))
        elif place in seen:
            violations.append(Violation(f"operations[{position}].key", "must be named once"))
        seen.add(place)
        try:
            found[place[0]].append(_operation(operation))
        except Invalid as error:
            violations += [
                Violation(f"operations[{position}].{each.field}", each.rule)
                for each in error.violations
            ]
    if violations:
        first = violations[0]
        raise Invalid("operations_invalid", f"{first.field}: {first.rule}", violations)
    return found


async def apply(
    connection: Connection,
    operations: Mapping[str, Sequence[Operation]],
    *,
    actor: str,
    message: str,
    kind: ChangeKind = ChangeKind.EDIT,
    vault: Vault,
) -> MadeChangeSets:
    """Make one change set in each environment. Raises as `service.apply` does."""
    made: list[MadeChangeSet] = []
    # In the order of their names, so that two such writes never wait for each other in a circle.
    for environment in sorted(operations):
        if operations[environment]:
            change_set = await service.apply(
                connection,
                environment,
                operations[environment],
                actor=actor,
                kind=kind,
                message=message,
                vault=vault,
            )
            made.append(made_view(change_set))
    return MadeChangeSets(change_sets=made)


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
    operations = await plans.revert(connection, environment, revision)
    return await apply(
        connection,
        {environment: operations},
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
    operations = await plans.restore(connection, environment, revision)
    return await apply(
        connection,
        {environment: operations},
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
    operations = await plans.promote(connection, source, target, keys, may_reveal=may_reveal)
    return await apply(
        connection,
        {target: operations},
        actor=actor,
        message=message or f"Promote from {source}",
        vault=vault,
        kind=ChangeKind.PROMOTE,
    )


def _operation(operation: PutOperation | DeleteOperation) -> Operation:
    expected = Expected(version=operation.version or None)
    if isinstance(operation, DeleteOperation):
        return Operation(key=operation.key, content=None, expected=expected)
    content = Content(
        kind=Kind(operation.kind),
        value=operation.value,
        schema=operation.schema,
        description=operation.description,
    )
    check_content(content)
    return Operation(key=operation.key, content=content, expected=expected)
