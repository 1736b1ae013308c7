"""A flag's definition as a draft, and a draft as a definition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.console.flag.conditions import condition_of, draft_condition
from app.console.flag.draft import (
    DraftMember,
    DraftOutcome,
    DraftRule,
    DraftVariant,
    FieldRules,
    FlagDraft,
)
from app.console.flag.outcomes import draft_outcome, outcome_of
from app.console.flag.values import encode, is_number, parse_json, parse_value
from app.console.json_text import pretty
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.evaluation.validation import STATES

Definition = dict[str, Any]

_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")
_OPTIONAL = ("targeting", "metadata")
# The types of a variant's value, by the name on the page.
_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "string": (str,),
    "number": (int, float),
    "object": (dict,),
}
_METADATA_TYPES = ("text", "number", "boolean")


@dataclass(frozen=True, kw_only=True)
class DraftResult:
    """The definition of a draft. It is incomplete when there are `errors`, which are by field."""

    definition: Any
    description: str | None
    errors: Mapping[str, list[str]]


def draft_of(
    definition: Any, description: str | None, version: int, *, view: str = "rules"
) -> FlagDraft:
    """Return the draft without an edit. What the rules cannot show is shown as JSON."""
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


def advanced_reason(definition: Any) -> str | None:
    """Return why the rules cannot show a definition, if so: the part and the reason."""
    match definition:
        case {"state": state, "variants": dict(variants)} if state in STATES and variants:
            pass
        case _:
            return "The definition needs a state and variants."
    if type_of(variants) is None:
        return "The values of the variants have different types."
    if not isinstance(definition.get("defaultVariant"), str | None):
        return "defaultVariant is not the name of a variant."
    metadata = definition.get("metadata", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str | bool | int | float) for value in metadata.values()
    ):
        return "metadata is not an object of texts, numbers and booleans."
    tree = read(definition.get("targeting", {}))
    if isinstance(tree, Advanced):
        return f"{f'targeting.{tree.path}'.rstrip('.')} {tree.reason}."
    return None


def type_of(variants: Mapping[str, Any]) -> str | None:
    """Return the type of the variants' values, if they have the same one."""
    for name, types in _TYPES.items():
        if all(
            isinstance(value, types) and isinstance(value, bool) is (bool in types)
            for value in variants.values()
        ):
            return name
    return None


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
    draft.metadata = [
        DraftMember(name=name, type=metadata_type(value), value=_text(value), source=encode(value))
        for name, value in definition.get("metadata", {}).items()
    ]
    rest = {name: value for name, value in definition.items() if name not in _MEMBERS}
    draft.rest = encode(rest)


def variant_text(type_: str, value: Any) -> str:
    return pretty(value) if type_ == "object" else _text(value)


def metadata_type(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "number" if is_number(value) else "text"


def _text(value: Any) -> str:
    """Return the text that a text field gives back for a value."""
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


def definition_of(draft: FlagDraft, base: Any) -> DraftResult:
    """Return the definition of a draft: every part that was not edited is as in `base`."""
    errors = FieldRules(list)
    description = draft.description.strip() or None
    if draft.view == "json":
        try:
            return DraftResult(
                definition=parse_json(draft.json), description=description, errors=errors
            )
        except ValueError as error:
            errors["json"].append(str(error))
            return DraftResult(definition=base, description=description, errors=errors)
    renamed = {encode(variant.was): variant.name for variant in draft.variants if variant.was}
    members: Definition = {"state": draft.state, "variants": _variants_of(draft, errors)}
    if draft.default != "":
        members["defaultVariant"] = _decoded(_renamed(draft.default, renamed))
    targeting = write(_tree_of(draft, renamed, errors))
    members["targeting"] = targeting
    members["metadata"] = _metadata_of(draft, errors)
    definition = _in_order({**members, **_decoded_object(draft.rest)}, base)
    return DraftResult(definition=definition, description=description, errors=errors)


def _in_order(members: Definition, base: Any) -> Definition:
    """Return the members in the order of `base`, without those that became empty."""
    before = base if isinstance(base, dict) else {}
    empty_before = {name for name in _OPTIONAL if name in before and is_same(before[name], {})}
    names = [name for name in before if name in members]
    names += [name for name in members if name not in before]
    return {
        name: members[name]
        for name in names
        if members[name] != {} or name not in _OPTIONAL or name in empty_before
    }


def is_same(left: Any, right: Any) -> bool:
    """Compare JSON, because True equals 1 in Python."""
    return msgspec.json.encode(left, order="sorted") == msgspec.json.encode(right, order="sorted")


def _variants_of(draft: FlagDraft, errors: FieldRules) -> Definition:
    variants: Definition = {}
    for position, variant in enumerate(draft.variants):
        field = f"variants.{position}"
        name = variant.name
        if not name:
            errors[f"{field}.name"].append("must not be empty")
        elif name in variants:
            errors[f"{field}.name"].append("must be another name than that of the other variants")
        try:
            variants[name] = _variant_value(draft.type, variant)
        except ValueError as error:
            errors[f"{field}.value"].append(str(error))
            variants[name] = None
    if not variants:
        errors["variants"].append("must have at least one variant")
    return variants


def _variant_value(type_: str, variant: DraftVariant) -> Any:
    source = _decoded(variant.source) if variant.source else None
    if source is not None and variant_text(type_, source) == variant.value:
        return source
    match type_:
        case "boolean" | "number":
            return parse_value(type_, variant.value)
        case "object":
            value = parse_json(variant.value)
            if isinstance(value, dict):
                return value
            raise ValueError("must be an object, such as {}")
        case _:
            return variant.value


def _metadata_of(draft: FlagDraft, errors: FieldRules) -> Definition:
    metadata: Definition = {}
    for position, row in enumerate(draft.metadata):
        field = f"metadata.{position}"
        if not row.name:
            errors[f"{field}.name"].append("must not be empty")
        elif row.name in metadata:
            errors[f"{field}.name"].append("must be given once")
        source = _decoded(row.source) if row.source else None
        try:
            is_unchanged = source is not None and row.value == _text(source)
            is_unchanged = is_unchanged and row.type == metadata_type(source)
            metadata[row.name] = source if is_unchanged else parse_value(row.type, row.value)
        except ValueError as error:
            errors[f"{field}.value"].append(str(error))
    return metadata


def _tree_of(draft: FlagDraft, renamed: Mapping[str, str], errors: FieldRules) -> Targeting:
    def outcome(part: DraftOutcome, path: str) -> Any:
        served = msgspec.structs.replace(
            part,
            serve=_renamed(part.serve, renamed),
            shares=[
                msgspec.structs.replace(share, variant=_renamed(share.variant, renamed))
                for share in part.shares
            ],
        )
        return outcome_of(served, path, errors)

    rules = tuple(
        TargetingRule(
            condition_of(rule.condition, f"rules.{n}.condition", errors),
            outcome(rule.outcome, f"rules.{n}.outcome"),
        )
        for n, rule in enumerate(draft.rules)
    )
    otherwise = outcome(draft.otherwise, "otherwise")
    is_truth = len(rules) == 1 and rules[0].outcome is True and otherwise is False
    if draft.shape == "shorthand" and is_truth:
        return Targeting(shorthand=rules[0].condition)
    return Targeting(rules, otherwise, is_nested=draft.shape == "nested" and len(rules) > 1)


def _renamed(text: str, renamed: Mapping[str, str]) -> str:
    return encode(renamed[text]) if text in renamed else text


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _decoded_object(text: str) -> Definition:
    value = _decoded(text)
    return value if isinstance(value, dict) else {}
