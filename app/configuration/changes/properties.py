"""Changing what an environment says of itself: by merge patches (RFC 7396) alone.

A patch names what it changes, so two people who describe different things do not undo each other.
Nothing of metadata may be null, so null is free to mean that a member goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Operation
from app.environments.models import Properties
from app.errors import Invalid, TooLarge, Violation
from app.evaluation.validation import check_metadata
from app.http.conditions import ExpectedVersion

# It is repeated in the answer for every flag.
METADATA_BYTES_MAX = 4 * 1024
NAME_MAX = 255
_VIOLATIONS_MAX = 20

Fractional = Literal["v2", "v3"]


@dataclass(frozen=True, kw_only=True)
class PropertiesPatch:
    """`metadata` is merged, member by member, and one that is null goes; None takes all away.

    `expected` None means whatever is there: for a caller that holds the environment's lock, or
    shows the outcome.
    """

    metadata: Mapping[str, Any] | None = field(default_factory=dict)
    fractional: str | None = None
    protected: bool | None = None
    expected: ExpectedVersion | None = None


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a change set is to do to one environment: to its entries and to its own properties."""

    operations: Sequence[Operation] = ()
    patch: PropertiesPatch | None = None


def patched(before: Properties, patch: PropertiesPatch) -> Properties:
    """Return the properties that a patch makes. Raises TooLarge for their metadata."""
    metadata: dict[str, Any] = {}
    if patch.metadata is not None:
        merged = {**before.metadata, **patch.metadata}
        metadata = {name: value for name, value in merged.items() if value is not None}
    if patch.metadata:
        check_size(metadata)
    return Properties(
        metadata=metadata,
        fractional=patch.fractional or before.fractional,
        protected=before.protected if patch.protected is None else patch.protected,
        version=before.version + 1,
    )


def patch_towards(
    wanted: Properties, found: Properties, *, expected: ExpectedVersion | None = None
) -> PropertiesPatch | None:
    """Return what makes the second into the first, None when they are the same.

    What is found is to be there still when the patch is applied: under its version, or by a lock.
    """
    if have_same_properties(wanted, found):
        return None
    return PropertiesPatch(
        metadata=dict.fromkeys(found.metadata) | wanted.metadata,
        fractional=wanted.fractional,
        protected=wanted.protected,
        expected=expected,
    )


def have_same_properties(left: Properties, right: Properties) -> bool:
    """Tell whether two environments say the same of themselves, the versions aside."""
    return are_equal(without_version(left), without_version(right))


def without_version(properties: Properties) -> dict[str, Any]:
    fields = msgspec.structs.asdict(properties)
    del fields["version"]
    return fields


def check_members(metadata: Mapping[str, Any] | None) -> None:
    """Check the members of a patch of metadata. Raises Invalid that names each wrong one."""
    if violations := wrong_members(metadata or {}):
        first = violations[0]
        raise Invalid("metadata_invalid", f"{first.field}: {first.rule}", violations)


def wrong_members(metadata: Mapping[str, Any]) -> list[Violation]:
    """Return what is wrong with members that stay, the first twenty; none that is null does."""
    given = {name: value for name, value in metadata.items() if value is not None}
    violations = list(check_metadata(given))
    if any(len(name) not in range(1, NAME_MAX + 1) for name in given):
        violations.append(Violation("metadata", f"must have names of 1 to {NAME_MAX} characters"))
    return violations[:_VIOLATIONS_MAX]


def check_size(metadata: Mapping[str, Any]) -> None:
    """Check the size of a whole. Raises TooLarge."""
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        rule = f"must not be larger than {METADATA_BYTES_MAX} bytes as JSON"
        raise TooLarge("value_too_large", f"metadata: {rule}", [Violation("metadata", rule)])
