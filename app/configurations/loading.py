"""Loading a document into an environment: what differs becomes one change set."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.changes import service as changes
from app.changes.models import ChangeKind, ChangeSet, Content, Expected, Operation
from app.changes.patch import are_equal
from app.changes.values import check_value
from app.configurations.documents import Document
from app.database import Connection
from app.environments import service as environments
from app.errors import Invalid, Violation


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What loading would do, by key."""

    created: Sequence[str]
    updated: Sequence[str]
    unchanged: Sequence[str]
    operations: Sequence[Operation]


async def plan(connection: Connection, environment: str, document: Document) -> Plan:
    """Compare a document with what is there, changing nothing.

    A key that the document does not have is left as it is, and so are the description and schema
    of one that it has. Raises NotFound for the environment, Invalid for a key of another kind.
    """
    await environments.get(connection, environment)
    entries = await changes.read_entries(connection, environment, list(document.entries))
    created: list[str] = []
    updated: list[str] = []
    unchanged: list[str] = []
    operations: list[Operation] = []
    violations: list[Violation] = []
    for key, content in document.entries.items():
        found = entries[key].content
        if found is not None and found.kind is not content.kind:
            violations.append(Violation(key, f"is a {found.kind} already, and kinds never change"))
            continue
        if found is not None and are_equal(found.value, content.value):
            unchanged.append(key)
            continue
        (created if found is None else updated).append(key)
        kept = found or content
        check_value(content.value, kept.schema)
        operations.append(
            Operation(
                key=key,
                content=Content(
                    kind=content.kind,
                    value=content.value,
                    schema=kept.schema,
                    description=kept.description,
                ),
                expected=Expected(version=entries[key].version),
            )
        )
    if violations:
        raise Invalid("kind_fixed", f"{violations[0].field} {violations[0].rule}", violations)
    return Plan(created=created, updated=updated, unchanged=unchanged, operations=operations)


async def apply_plan(
    connection: Connection, environment: str, wanted: Plan, *, actor: str, message: str
) -> ChangeSet | None:
    """Make the one change set of a plan, unless there is nothing to change."""
    if not wanted.operations:
        return None
    return await changes.apply(
        connection,
        environment,
        wanted.operations,
        actor=actor,
        kind=ChangeKind.IMPORT,
        message=message,
    )
