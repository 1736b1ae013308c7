"""A flag's definition as the draft that opens the editor."""

from typing import Any

from app.console.flag.conditions import draft_condition
from app.console.flag.draft import DraftMember, DraftRule, DraftVariant, FlagDraft
from app.console.flag.outcomes import draft_outcome
from app.console.flag.values import encode, is_number
from app.console.json_text import pretty
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, TargetingRule
from app.evaluation.validation import STATES
from app.flags.editing import Definition
from app.flags.prerequisites import prerequisites_as_text, read_prerequisites
from app.flags.summary import type_of

# The members that the rules show; all others are in `FlagDraft.rest`.
MEMBERS = (
    "state",
    "variants",
    "defaultVariant",
    "targeting",
    "metadata",
    "prerequisites",
    "offVariant",
)


def draft_of(
    definition: Any, description: str | None, version: int, *, view: str = "rules"
) -> FlagDraft:
    """Return the draft without an edit. A definition that the rules cannot show is JSON."""
    reason = advanced_reason(definition)
    if view == "json" or reason is not None:
        return FlagDraft(
            version=version,
            view="json",
            json=pretty(definition),
            description=description or "",
        )
    draft = FlagDraft(version=version, description=description or "")
    _draft_members(draft, definition)
    _draft_targeting(draft, definition.get("targeting", {}))
    return draft


def advanced_reason(definition: Any) -> str | None:  # noqa: PLR0911 - one for each member
    """Return why the rules cannot show a definition, if so: the part and the reason."""
    match definition:
        case {"state": state, "variants": dict(variants)} if state in STATES and variants:
            pass
        case _:
            return "The definition needs a state and variants."
    if not type_of(variants):
        return "The values of the variants have different types."
    if not isinstance(definition.get("defaultVariant"), str | None):
        return "defaultVariant is not the name of a variant."
    if not _shows_prerequisites(definition):
        return "prerequisites are not a list of flags with one variant each."
    metadata = definition.get("metadata", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str | bool | int | float) for value in metadata.values()
    ):
        return "metadata is not an object of texts, numbers and booleans."
    tree = read(definition.get("targeting", {}))
    if isinstance(tree, Advanced):
        return f"{f'targeting.{tree.path}'.rstrip('.')} {tree.reason}."
    return None


def _shows_prerequisites(definition: Definition) -> bool:
    """Return whether the lines of the form give the stored prerequisites back."""
    stored = definition.get("prerequisites", [])
    try:
        return read_prerequisites(prerequisites_as_text(definition)) == stored and isinstance(
            definition.get("offVariant"), str | None
        )
    except ValueError:
        return False


def _draft_members(draft: FlagDraft, definition: Definition) -> None:
    variants = definition["variants"]
    draft.state, draft.type = definition["state"], type_of(variants) or "string"
    draft.variants = [
        DraftVariant(
            name=name, was=name, value=variant_text(draft.type, value), source=encode(value)
        )
        for name, value in variants.items()
    ]
    draft.default = encode(definition["defaultVariant"]) if "defaultVariant" in definition else ""
    draft.prerequisites = prerequisites_as_text(definition)
    draft.off = encode(definition["offVariant"]) if "offVariant" in definition else ""
    draft.metadata = [
        DraftMember(
            name=name, type=metadata_type(value), value=value_as_text(value), source=encode(value)
        )
        for name, value in definition.get("metadata", {}).items()
    ]
    rest = {name: value for name, value in definition.items() if name not in MEMBERS}
    draft.rest = encode(rest)


def variant_text(type_: str, value: Any) -> str:
    return pretty(value) if type_ == "object" else value_as_text(value)


def metadata_type(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if is_number(value) else "text"


def value_as_text(value: Any) -> str:
    """Return the text that a browser sends back for a value in a text field."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else encode(value)


def _draft_targeting(draft: FlagDraft, targeting: Any) -> None:
    tree = read(targeting)
    if isinstance(tree, Advanced):
        raise TypeError(tree.reason)
    if tree.shorthand is not None:
        rules = [TargetingRule(tree.shorthand, True)]
        draft.shape, draft.otherwise = "shorthand", draft_outcome(False)
    else:
        rules = list(tree.rules)
        draft.shape = "nested" if tree.is_nested else ""
        draft.otherwise = draft_outcome(tree.otherwise)
    draft.rules = [
        DraftRule(
            uid=str(number),
            condition=draft_condition(rule.condition),
            outcome=draft_outcome(rule.outcome),
        )
        for number, rule in enumerate(rules)
    ]
