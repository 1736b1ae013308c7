"""Change the properties of an environment by merge patches (RFC 7396).

A patch names only what it changes, so two people who change different members do not undo each
other. Metadata never contains null, so null in a patch removes a member.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Operation
from app.environments.models import Properties
from app.environments.protection import Approvals, Prefixes, Protection
from app.errors import Invalid, TooLarge, Violation
from app.evaluation.validation import check_metadata
from app.http.conditions import ExpectedVersion

# Metadata is repeated in the response for every flag.
METADATA_BYTES_MAX = 4 * 1024
NAME_MAX = 255
_VIOLATIONS_MAX = 20

Fractional = Literal["v2", "v3"]


class ProtectionPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch of the protection. A member that is null gets its default."""

    approvals: Approvals | msgspec.UnsetType | None = msgspec.UNSET
    self_approval: bool | msgspec.UnsetType | None = msgspec.UNSET
    keys: Prefixes | msgspec.UnsetType | None = msgspec.UNSET

    @classmethod
    def towards(cls, target: Protection | None) -> "ProtectionPatch | None":
        """Return the patch that gives this protection, whatever it was before."""
        return None if target is None else cls(**msgspec.structs.asdict(target))

    def applied_to(self, before: Protection | None) -> Protection:
        members = msgspec.structs.asdict(before or Protection())
        members |= {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if value is not msgspec.UNSET
        }
        return Protection(**{name: value for name, value in members.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class PropertiesPatch:
    """A patch of properties. `metadata` is merged by member; None removes all members.

    `protection` is merged too; None removes it.

    `expected` None matches every version, for a caller that holds the environment's lock.
    """

    metadata: Mapping[str, Any] | None = field(default_factory=dict)
    fractional: str | None = None
    protected: bool | None = None
    protection: ProtectionPatch | msgspec.UnsetType | None = msgspec.UNSET
    expected: ExpectedVersion | None = None


@dataclass(frozen=True, kw_only=True)
class Intent:
    """The changes to make in one environment: to its entries and to its properties."""

    operations: Sequence[Operation] = ()
    patch: PropertiesPatch | None = None


def patched(before: Properties, patch: PropertiesPatch) -> Properties:
    """Return the patched properties. Raises TooLarge for their metadata."""
    metadata: dict[str, Any] = {}
    if patch.metadata is not None:
        merged = {**before.metadata, **patch.metadata}
        metadata = {name: value for name, value in merged.items() if value is not None}
    if patch.metadata:
        check_size(metadata)
    protection = before.protection
    if patch.protection is None:
        protection = None
    elif patch.protection is not msgspec.UNSET:
        protection = patch.protection.applied_to(protection)
    return Properties(
        metadata=metadata,
        fractional=patch.fractional or before.fractional,
        protected=before.protected if patch.protected is None else patch.protected,
        version=before.version + 1,
        protection=protection,
    )


def patch_towards(
    target: Properties, current: Properties, *, expected: ExpectedVersion | None = None
) -> PropertiesPatch | None:
    """Return the patch from the current to the target properties, None when they are the same.

    The caller ensures by `expected` or by a lock that the current properties stay the same.
    """
    if have_same_properties(target, current):
        return None
    return PropertiesPatch(
        metadata=dict.fromkeys(current.metadata) | target.metadata,
        fractional=target.fractional,
        protected=target.protected,
        protection=ProtectionPatch.towards(target.protection),
        expected=expected,
    )


def have_same_properties(left: Properties, right: Properties) -> bool:
    """Return whether two environments have the same properties. Ignores versions."""
    return are_equal(without_version(left), without_version(right))


def without_version(properties: Properties) -> dict[str, Any]:
    fields = msgspec.structs.asdict(properties)
    del fields["version"]
    return fields


def check_members(metadata: Mapping[str, Any] | None) -> None:
    """Check the members of a patch of metadata. Raises Invalid that names each wrong member."""
    if violations := wrong_members(metadata or {}):
        raise Invalid.of("metadata_invalid", violations)


def wrong_members(metadata: Mapping[str, Any]) -> list[Violation]:
    """Return the first 20 violations of the members that are not null."""
    members = {name: value for name, value in metadata.items() if value is not None}
    violations = list(check_metadata(members))
    if any(len(name) not in range(1, NAME_MAX + 1) for name in members):
        violations.append(Violation("metadata", f"must have names of 1 to {NAME_MAX} characters"))
    return violations[:_VIOLATIONS_MAX]


def check_size(metadata: Mapping[str, Any]) -> None:
    """Check the size of all metadata of an environment. Raises TooLarge."""
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        rule = f"must not be larger than {METADATA_BYTES_MAX} bytes as JSON"
        raise TooLarge.of("value_too_large", [Violation("metadata", rule)])
