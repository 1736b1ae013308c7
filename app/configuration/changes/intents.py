"""Convert the body of a change set to operations for each environment.

Collects up to 100 violations, each with the position of its operation.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain

import msgspec

from app.configuration.changes.content_checks import SCHEMA_TOO_COSTLY, find_format_error
from app.configuration.changes.models import Content, Operation
from app.configuration.changes.properties import Intent, PropertiesPatch, check_members
from app.configuration.changes.requests import (
    DeleteOperation,
    EnvironmentPatch,
    NewChangeSet,
    PatchOperation,
    PutOperation,
)
from app.configuration.json_schema.pool import RequestCheck
from app.errors import Invalid, Violation, invalid
from app.http.conditions import ExpectedVersion
from app.names import KEY_RULE, is_key, is_stored_key

_VIOLATIONS_MAX = 100


def intents_of(body: NewChangeSet, environment: str, check: RequestCheck) -> Mapping[str, Intent]:
    """Convert the operations. Raises Invalid with all violations, TooLarge, Unavailable."""
    operations: dict[str, list[Operation]] = defaultdict(list)
    patches: dict[str, PropertiesPatch] = {}
    violations: list[Violation] = []
    seen: set[tuple[str, str]] = set()
    for position, operation in enumerate(body.operations):
        field, key = "op", ""
        if not isinstance(operation, PatchOperation):
            field, key = "key", operation.key
        target = operation.environment or environment
        is_known = is_stored_key if isinstance(operation, DeleteOperation) else is_key
        if field == "key" and not is_known(key):
            violations.append(Violation(f"operations[{position}].key", KEY_RULE))
        elif (target, key) in seen:
            violations.append(Violation(f"operations[{position}].{field}", "must be named once"))
        seen.add((target, key))
        try:
            if isinstance(operation, PatchOperation):
                patches[target] = patch_of(operation, ExpectedVersion(version=operation.version))
            else:
                operations[target].append(_operation(operation, check, position))
        except Invalid as error:
            if error.code == SCHEMA_TOO_COSTLY:
                # The request has used up its budget, so the other operations cannot be checked.
                rule = f"{error.violations[0].rule} and those before it ({key})"
                field = f"operations[{position}].schema"
                raise Invalid.of(error.code, [Violation(field, rule)]) from None
            violations += _at(position, error).violations
        if len(violations) >= _VIOLATIONS_MAX:
            break
    if violations:
        # Report format errors too. A write would accept them if the same value is stored.
        refusals = (item.refusal for item in chain.from_iterable(operations.values()))
        violations += [violation for error in refusals if error for violation in error.violations]
        violations.sort(key=_position)
        raise Invalid.of("operations_invalid", violations[:_VIOLATIONS_MAX])
    return {
        name: Intent(operations=operations.get(name, ()), patch=patches.get(name))
        for name in operations.keys() | patches.keys()
    }


def patch_of(
    body: EnvironmentPatch | PatchOperation, expected: ExpectedVersion | None
) -> PropertiesPatch:
    """Return the patch of an environment's properties. Raises Invalid."""
    patch = PropertiesPatch(
        metadata=body.metadata,
        fractional=body.fractional or None,
        protected=None if body.protected is msgspec.UNSET else body.protected,
        protection=body.protection,
        expected=expected,
    )
    if patch == PropertiesPatch(expected=expected):
        raise invalid("metadata", "must be given, or fractional, protected or protection")
    check_members(patch.metadata)
    return patch


def contents_of(body: NewChangeSet) -> Iterator[Content]:
    """Yield the contents that the change set writes, unchecked."""
    for operation in body.operations:
        if isinstance(operation, PutOperation):
            yield Content.of(operation)


def _operation(
    operation: PutOperation | DeleteOperation, check: RequestCheck, position: int
) -> Operation:
    expected = ExpectedVersion(version=operation.version or None)
    if isinstance(operation, DeleteOperation):
        return Operation(key=operation.key, content=None, expected=expected)
    content = Content.of(operation)
    error = find_format_error(content, check)
    refusal = _at(position, error) if error is not None else None
    return Operation(key=operation.key, content=content, expected=expected, refusal=refusal)


def _at(position: int, error: Invalid) -> Invalid:
    """Return the error with the operation's position in each field."""
    violations = [
        Violation(f"operations[{position}].{violation.field}", violation.rule)
        for violation in error.violations
    ]
    return Invalid.of("operations_invalid", violations)


def _position(violation: Violation) -> int:
    return int(violation.field.removeprefix("operations[").partition("]")[0])
