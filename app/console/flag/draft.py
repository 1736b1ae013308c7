"""The texts of the flag editor: what a person typed, valid or not.

Each `source` is the JSON from which a part was read. A part that was not edited is written as that
JSON, so saving without an edit changes nothing. `operator` of a condition begins with "not " when
the condition is negated, and `form` has one character for each `!` and `!!` of its source.
"""

from collections import defaultdict
from typing import Literal

import msgspec

NOT = "not "
SPLIT = "split"

# The broken rules of each field, by the name of the field.
FieldRules = defaultdict[str, list[str]]


class DraftCondition(msgspec.Struct, kw_only=True):
    """One condition: a comparison, a segment, another flag, or a group of conditions.

    `operator` is a key of `OPERATORS` for a comparison, "in" for a segment, "gives" for a flag,
    "and" or "or" for a group. `type` is a key of `VALUE_TYPES`. For a flag, `value` is a variant.
    """

    kind: Literal["compare", "segment", "flag", "group"] = "compare"
    attribute: str = ""
    operator: str = "is"
    type: str = "text"
    value: str = ""
    segment: str = ""
    flag: str = ""
    conditions: list["DraftCondition"] = []
    form: str = ""
    source: str = ""

    @property
    def is_negated(self) -> bool:
        return self.operator.startswith(NOT)

    @property
    def base_operator(self) -> str:
        return self.operator.removeprefix(NOT)


class DraftShare(msgspec.Struct, kw_only=True):
    """A part of a split: the variant as JSON, and its share in percent."""

    variant: str = "null"
    percent: str = "0"


class DraftOutcome(msgspec.Struct, kw_only=True):
    """The outcome of a rule: a variant as JSON, SPLIT, or empty where the definition omits it."""

    serve: str = "null"
    shares: list[DraftShare] = []
    by: str = ""
    source: str = ""


class DraftRule(msgspec.Struct, kw_only=True):
    """`uid` identifies the rule on the page while it is moved."""

    uid: str = ""
    condition: DraftCondition = msgspec.field(default_factory=DraftCondition)
    outcome: DraftOutcome = msgspec.field(default_factory=DraftOutcome)


class DraftVariant(msgspec.Struct, kw_only=True):
    """`was` is the name in the rules, which follow when the variant is renamed."""

    name: str = ""
    was: str = ""
    value: str = ""
    source: str = ""


class DraftMember(msgspec.Struct, kw_only=True):
    """One member of the metadata."""

    name: str = ""
    type: str = "text"
    value: str = ""
    source: str = ""


class FlagDraft(msgspec.Struct, kw_only=True):
    """The whole form. `version` is the version of the flag on which the draft is based.

    `view` is the part that a person edits: the rules, or the definition as `json`. `rest` has the
    members of the definition for which the rules have no field, as JSON. `prerequisites` has a
    line for each, and `off` is the off variant as JSON.
    """

    version: int = 0
    view: Literal["rules", "json"] = "rules"
    json: str = ""
    description: str = ""
    state: str = "ENABLED"
    type: str = "boolean"
    variants: list[DraftVariant] = []
    default: str = ""
    rules: list[DraftRule] = []
    otherwise: DraftOutcome = msgspec.field(default_factory=lambda: DraftOutcome(serve=""))
    shape: Literal["", "nested", "shorthand"] = ""
    prerequisites: str = ""
    off: str = ""
    metadata: list[DraftMember] = []
    rest: str = "{}"
    message: str = ""
