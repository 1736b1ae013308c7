"""The change set that a refused write would make, as the body of a proposal."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Operation, PropertiesChange
from app.configuration.changes.properties import ProtectionPatch
from app.configuration.changes.requests import (
    OPERATIONS_MAX,
    AnyOperation,
    DeleteOperation,
    NewChangeSet,
    PatchOperation,
    PutOperation,
)
from app.errors import ApprovalRequired, Violation
from app.http.decoder import BODY_BYTES_MAX

_TOO_LARGE = (
    f" It is too large for one proposal, which has at most {OPERATIONS_MAX:,} operations in 1 MiB."
)


def proposed_operations(
    environment: str,
    operations: Sequence[Operation],
    versions: Mapping[str, int | None],
    properties: PropertiesChange | None,
) -> list[AnyOperation]:
    """Return operations with the versions of the present. A sealed secret has no value."""
    proposed: list[AnyOperation] = [
        _operation(environment, operation, versions[operation.key] or 0) for operation in operations
    ]
    if properties is not None:
        proposed.append(_patch(environment, properties))
    return proposed


def approval_required(
    reason: str,
    violations: Sequence[Violation],
    operations: Sequence[AnyOperation],
    message: str,
) -> ApprovalRequired:
    """Return the error with the proposal. The body that it shows has no value of a secret."""
    change_set = NewChangeSet(operations=list(operations), message=message)
    body = _shown(change_set)
    return ApprovalRequired(
        reason if body is not None else reason + _TOO_LARGE,
        violations,
        change_set=change_set,
        proposal=body,
    )


def combined(
    errors: Sequence[ApprovalRequired], others: Sequence[AnyOperation], message: str
) -> ApprovalRequired:
    """Return one error for several environments. `others` are operations that need no approval."""
    reason = " ".join(error.message.removesuffix(_TOO_LARGE) for error in errors)
    violations = [violation for error in errors for violation in error.violations]
    operations = [item for error in errors for item in error.change_set.operations]
    return approval_required(reason, violations, [*operations, *others], message)


def _shown(change_set: NewChangeSet) -> msgspec.Raw | None:
    """Return the body without secrets, None if it is too large for a request."""
    if len(change_set.operations) > OPERATIONS_MAX:
        return None
    operations = list(map(_without_secret, change_set.operations))
    body = msgspec.json.encode(msgspec.structs.replace(change_set, operations=operations))
    return msgspec.Raw(body) if len(body) <= BODY_BYTES_MAX else None


def _without_secret(operation: Any) -> Any:
    if isinstance(operation, PutOperation) and operation.kind == "secret":
        # Left out, not null: the proposal must be refused until the value is added.
        return msgspec.structs.replace(operation, value=msgspec.UNSET)
    return operation


def _operation(
    environment: str, operation: Operation, version: int
) -> PutOperation | DeleteOperation:
    content = operation.content
    if content is None:
        return DeleteOperation(key=operation.key, version=version, environment=environment)
    return PutOperation(
        key=operation.key,
        version=version,
        value=msgspec.UNSET if content.sealed is not None else content.value,
        kind=content.kind.value,
        schema=content.schema,
        description=content.description,
        environment=environment,
    )


def _patch(environment: str, change: PropertiesChange) -> PatchOperation:
    before, after = change.before, change.after
    names = before.metadata.keys() | after.metadata.keys()
    return PatchOperation(
        version=before.version,
        metadata={
            name: after.metadata.get(name)
            for name in sorted(names)
            if not are_equal(before.metadata.get(name), after.metadata.get(name))
        },
        fractional=msgspec.UNSET if before.fractional == after.fractional else after.fractional,  # type: ignore[arg-type]  # the constraint allows v2 and v3
        protected=msgspec.UNSET if before.protected == after.protected else after.protected,
        protection=msgspec.UNSET
        if before.protection == after.protection
        else ProtectionPatch.towards(after.protection),
        environment=environment,
    )
