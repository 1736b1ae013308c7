"""From the body of a request to what it intends for each environment.

Every violation is collected with the position of its operation, up to a limit.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from app.configuration.changes.content_rules import SCHEMA_TOO_COSTLY, find_format_error
from app.configuration.changes.models import Content, Kind, Operation
from app.configuration.changes.properties import Intent, PropertiesPatch, check_members
from app.configuration.changes.requests import (
    DeleteOperation,
    NewChangeSet,
    NewPatch,
    PatchOperation,
    PutOperation,
)
from app.configuration.json_schema.pool import RequestCheck
from app.errors import Invalid, Violation, invalid
from app.http.conditions import ExpectedVersion
from app.names import KEY_RULE, is_key, is_stored_key

_VIOLATIONS_MAX = 100


def intents_of(wanted: NewChangeSet, environment: str, check: RequestCheck) -> Mapping[str, Intent]:
    """Return what is wanted of each environment. Raises Invalid that names all that is wrong.

    Raises TooLarge and Unavailable, too.
    """
    found: dict[str, list[Operation]] = defaultdict(list)
    patches: dict[str, PropertiesPatch] = {}
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
                patches[place[0]] = patch_of(operation, ExpectedVersion(version=operation.version))
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


def patch_of(
    wanted: NewPatch | PatchOperation, expected: ExpectedVersion | None
) -> PropertiesPatch:
    """Return the patch. Raises Invalid that names what is wrong with it."""
    patch = PropertiesPatch(
        metadata=wanted.metadata,
        fractional=wanted.fractional or None,
        protected=None if wanted.protected is msgspec.UNSET else wanted.protected,
        expected=expected,
    )
    if patch == PropertiesPatch(expected=expected):
        raise invalid("metadata", "must be given, or fractional, or protected")
    check_members(patch.metadata)
    return patch


def contents_of(wanted: NewChangeSet) -> Iterator[Content]:
    """Yield what the change set writes, unchecked."""
    for operation in wanted.operations:
        if isinstance(operation, PutOperation):
            yield _content(operation)


def _operation(
    operation: PutOperation | DeleteOperation, check: RequestCheck, position: int
) -> Operation:
    expected = ExpectedVersion(version=operation.version or None)
    if isinstance(operation, DeleteOperation):
        return Operation(key=operation.key, content=None, expected=expected)
    content = _content(operation)
    error = find_format_error(content, check)
    refusal = _at(position, error) if error is not None else None
    return Operation(key=operation.key, content=content, expected=expected, refusal=refusal)


def _content(operation: PutOperation) -> Content:
    return Content(
        kind=Kind(operation.kind),
        value=operation.value,
        schema=operation.schema,
        description=operation.description,
    )


def _at(position: int, error: Invalid) -> Invalid:
    """Return the error with fields that name the operation."""
    violations = [
        Violation(f"operations[{position}].{each.field}", each.rule) for each in error.violations
    ]
    first = violations[0]
    return Invalid("operations_invalid", f"{first.field}: {first.rule}", violations)


def _position(violation: Violation) -> int:
    return int(violation.field.removeprefix("operations[").partition("]")[0])
