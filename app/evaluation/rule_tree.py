"""The tree of a targeting that people edit: ordered rules, each a condition and an outcome.

The tree keeps the exact form of the definition, so `rule_writer.write` restores it. A targeting
that has no such form is `Advanced`, with the reason.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class Attribute(msgspec.Struct, frozen=True):
    """A value of the context. `default` is used when the context lacks it."""

    name: str
    default: Any = UNSET
    is_list: bool = False


class Comparison(msgspec.Struct, frozen=True):
    """Compare an attribute with a constant, by an operator of JsonLogic or flagd.

    `sem_ver` has its comparison in `version_operator`. Without an operator the attribute itself is
    the condition. With `is_between` the value is a list of two, and the attribute stands between.
    """

    attribute: Attribute
    operator: str | None
    value: Any = None
    version_operator: str | None = None
    is_reversed: bool = False
    is_between: bool = False


class ConditionGroup(msgspec.Struct, frozen=True):
    kind: Literal["and", "or"]
    conditions: tuple["Condition", ...]


class Negation(msgspec.Struct, frozen=True):
    condition: "Condition"
    is_list: bool = False


class DoubleNegation(msgspec.Struct, frozen=True):
    """The operator `!!`, which is true when its condition is."""

    condition: "Condition"
    is_list: bool = False


class SegmentReference(msgspec.Struct, frozen=True):
    key: str


class FlagReference(msgspec.Struct, frozen=True):
    """The condition that another flag gives a variant."""

    key: str
    variant: str


Condition = (
    Comparison | ConditionGroup | Negation | DoubleNegation | SegmentReference | FlagReference
)


class VariantShare(msgspec.Struct, frozen=True):
    """One part of a split. A weight that the definition omits is 1."""

    variant: str | bool | None
    weight: int | UnsetType = UNSET

    @property
    def parts(self) -> int:
        return 1 if self.weight is UNSET else self.weight


class VariantSplit(msgspec.Struct, frozen=True):
    """A choice by a hash of the targeting key, or of an attribute.

    With `has_flag_key` the hash covers the key of the flag too, so flags split independently.
    Without an attribute flagd includes it by itself.
    """

    shares: tuple[VariantShare, ...]
    attribute: Attribute | None = None
    has_flag_key: bool = False


# The name of a variant; a boolean names the variant true or false; None is the default variant.
Outcome = VariantSplit | str | bool | None


class TargetingRule(msgspec.Struct, frozen=True):
    condition: Condition
    outcome: Outcome


class Targeting(msgspec.Struct, frozen=True):
    """The first rule whose condition is true decides, else `otherwise`.

    `otherwise` is unset where the definition omits it: then the default variant is the outcome. A
    `shorthand` is a condition alone, which gives the variant true or false. `is_nested` says that
    each further rule stands in the last place of the one before.
    """

    rules: tuple[TargetingRule, ...] = ()
    otherwise: Outcome | UnsetType = UNSET
    shorthand: Condition | None = None
    is_nested: bool = False


class Advanced(msgspec.Struct, frozen=True):
    """A targeting without a tree. `path` is the part that has none, and `reason` says why."""

    path: str
    reason: str
