"""Plans in change sets: the form in which they are stored, and the rows of their steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.configuration.changes.models import ChangeSet, Content, Entry, Kind, Operation
from app.database import Connection, sql
from app.errors import Invalid, Violation, as_sentence
from app.evaluation.plans import validation
from app.evaluation.plans.periods import remaining, step_begins
from app.evaluation.plans.plan import PLAN, read_plan


def in_stored_form(operation: Operation) -> Operation:
    """Return the operation with the instants of a plan in UTC."""
    definition = planned(operation.content)
    if definition is None or operation.content is None:
        return operation
    content = replace(operation.content, value=validation.in_stored_form(definition))
    return replace(operation, content=content)


def check_new_plans(
    operations: Sequence[Operation], entries: Mapping[str, Entry], now: datetime
) -> None:
    """Refuse a new plan whose steps have all begun: it would change the flag at once.

    Only an edit is refused. A plan that is restored, imported or promoted is in its last state.
    """
    violations = [
        Violation(f"{operation.key}.{PLAN}.steps", "must have a step that begins in the future")
        for operation in operations
        if _is_over(operation.content, int(now.timestamp()))
        and planned(entries[operation.key].content) is None
    ]
    if violations:
        raise Invalid("plan_past", as_sentence(violations), violations)


async def save_steps(connection: Connection, change_set: ChangeSet) -> None:
    """Write the rows of the steps that a change set changes."""
    keys = [
        change.key
        for change in change_set.changes
        if planned(change.after) is not None or planned(change.before.content) is not None
    ]
    if not keys:
        return
    steps = [*_steps(change_set)]
    await sql.save_plan_steps(
        connection,
        environment=change_set.environment,
        revision=change_set.revision,
        keys=keys,
        step_keys=[key for key, _, _ in steps],
        steps=[step for _, step, _ in steps],
        begins_at=[begin for _, _, begin in steps],
    )


def planned(content: Content | None) -> Mapping[str, Any] | None:
    """Return the definition of a flag with a plan; None for any other content."""
    if content is None or content.kind is not Kind.FLAG or not isinstance(content.value, dict):
        return None
    return content.value if PLAN in content.value else None


def _steps(change_set: ChangeSet) -> Iterator[tuple[str, int, int]]:
    for change in change_set.changes:
        definition = planned(change.after)
        if definition is not None:
            for step, begin in step_begins(definition).items():
                yield change.key, step, begin


def _is_over(content: Content | None, now: int) -> bool:
    definition = planned(content)
    plan = read_plan(definition) if definition is not None else None
    if plan is None:
        return False
    return all(step.begins_at is not None and step.begins_at <= now for step in remaining(plan))
