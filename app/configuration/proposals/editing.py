"""The contents of a proposal: the environments of its operations, and edits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from app.configuration.changes.requests import AnyOperation
from app.configuration.proposals import store
from app.configuration.proposals.models import Proposal, environments_of
from app.configuration.proposals.requests import ProposalPatch
from app.errors import Invalid, Violation

_VIOLATIONS_MAX = 20


def with_environments(
    operations: Sequence[AnyOperation], default: str | None
) -> list[AnyOperation]:
    """Return the operations with their environments. Raises Invalid, naming each without one."""
    if default is None and (
        violations := [
            Violation(f"operations[{position}].environment", "must be given, or environment")
            for position, operation in enumerate(operations)
            if not operation.environment
        ]
    ):
        raise Invalid.of("operations_invalid", violations[:_VIOLATIONS_MAX])
    return [
        msgspec.structs.replace(operation, environment=operation.environment or default)
        for operation in operations
    ]


def edited(
    proposal: Proposal, patch: ProposalPatch, values: Mapping[store.SecretKey, Any]
) -> Proposal:
    """Return the proposal with an edit. Its operations have the values of their secrets.

    `values` are those of the stored secrets. Raises as `with_environments`.
    """
    operations = proposal.operations
    if patch.operations is not msgspec.UNSET:
        operations = with_environments(patch.operations, patch.environment)
    operations = store.with_retained_secrets(operations, values)
    return replace(
        proposal,
        title=proposal.title if patch.title is msgspec.UNSET else patch.title,
        message=proposal.message if patch.message is msgspec.UNSET else patch.message,
        operations=operations,
        environments=environments_of(operations),
    )
