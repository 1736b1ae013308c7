"""The definition that a draft describes, and the errors of its fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.console.flag.conditions import condition_of
from app.console.flag.draft import (
    DraftOutcome,
    DraftVariant,
    FieldRules,
    FlagDraft,
)
from app.console.flag.draft_reader import metadata_type, value_as_text, variant_text
from app.console.flag.outcomes import outcome_of
from app.console.flag.values import decode, encode, parse_json, parse_value
from app.evaluation.rule_tree import Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.flags.editing import Definition
from app.flags.prerequisites import read_prerequisites

_OPTIONAL = ("targeting", "metadata", "prerequisites")
_EMPTY: tuple[Any, ...] = ({}, [])


@dataclass(frozen=True, kw_only=True)
class DraftResult:
    """The definition of a draft. It is incomplete when there are `errors`, which are by field."""

    definition: Any
    description: str | None
    errors: Mapping[str, list[str]]


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
        members["defaultVariant"] = decode(_renamed(draft.default, renamed))
    targeting = write(_tree_of(draft, renamed, errors))
    members["targeting"] = targeting
    members["metadata"] = _metadata_of(draft, errors)
    members["prerequisites"] = _prerequisites_of(draft, errors)
    if draft.off != "":
        members["offVariant"] = decode(_renamed(draft.off, renamed))
    definition = _in_order({**members, **_decoded_object(draft.rest)}, base)
    return DraftResult(definition=definition, description=description, errors=errors)


def _in_order(members: Definition, base: Any) -> Definition:
    """Return the members in the order of `base`, without those that became empty."""
    before = base if isinstance(base, dict) else {}
    empty_before = {name for name in _OPTIONAL if name in before and before[name] in _EMPTY}
    names = [name for name in before if name in members]
    names += [name for name in members if name not in before]
    return {
        name: members[name]
        for name in names
        if members[name] not in _EMPTY or name not in _OPTIONAL or name in empty_before
    }


def _prerequisites_of(draft: FlagDraft, errors: FieldRules) -> list[dict[str, Any]]:
    try:
        return read_prerequisites(draft.prerequisites)
    except ValueError as error:
        errors["prerequisites"].append(str(error))
        return []


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
    source = decode(variant.source) if variant.source else None
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
        source = decode(row.source) if row.source else None
        try:
            is_unchanged = source is not None and row.value == value_as_text(source)
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


def _decoded_object(text: str) -> Definition:
    value = decode(text)
    return value if isinstance(value, dict) else {}
