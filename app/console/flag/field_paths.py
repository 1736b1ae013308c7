"""The field of the form for a part of the definition that the API names by its JSON path."""

from collections.abc import Iterator, Mapping

from app.console.flag.draft import SPLIT, DraftCondition, DraftOutcome, FlagDraft
from app.console.forms import FormErrors
from app.errors import AppError

# The part of a path for each character of `DraftCondition.form`.
_NEGATIONS = {"!": ".!", "[": ".![0]", "?": ".!!", "{": ".!![0]"}

Places = Iterator[tuple[str, str]]


def by_field(error: AppError, draft: FlagDraft) -> FormErrors:
    """Return the errors of a save beside the fields of the draft."""
    errors = FormErrors.of(error)
    places = dict(_places(draft)) if draft.view == "rules" else {"value": "json"}
    moved: dict[str, list[str]] = {}
    for name, rules in errors.by_field.items():
        moved.setdefault(_field_of(name, places), []).extend(rules)
    return FormErrors(errors.message, moved)


def _field_of(name: str, places: Mapping[str, str]) -> str:
    """Return the field of the longest path that contains this one, or the path itself."""
    path = name
    while path:
        if path in places:
            return places[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return name


def _places(draft: FlagDraft) -> Places:
    yield "value.state", "state"
    yield "value.variants", "variants"
    yield "value.defaultVariant", "default"
    yield "value.prerequisites", "prerequisites"
    yield "value.offVariant", "off"
    yield "value.targeting", "rules"
    for position, variant in enumerate(draft.variants):
        yield f"value.variants.{variant.name}", f"variants.{position}"
    for position, member in enumerate(draft.metadata):
        yield f"value.metadata.{member.name}", f"metadata.{position}"
    yield from _targeting(draft, "value.targeting")


def _targeting(draft: FlagDraft, root: str) -> Places:
    if draft.shape == "shorthand" and draft.rules:
        yield from _condition(draft.rules[0].condition, root, "rules.0.condition")
    if not draft.rules and draft.otherwise.serve == SPLIT:
        yield from _outcome(draft.otherwise, root, "otherwise")
        return
    path, first = f"{root}.if", 0
    for position, rule in enumerate(draft.rules):
        field = f"rules.{position}"
        if position and draft.shape == "nested":
            path, first = f"{path}[2].if", 2 * position
        yield from _condition(
            rule.condition, f"{path}[{2 * position - first}]", f"{field}.condition"
        )
        yield from _outcome(rule.outcome, f"{path}[{2 * position + 1 - first}]", f"{field}.outcome")
    yield from _outcome(draft.otherwise, f"{path}[{2 * len(draft.rules) - first}]", "otherwise")


def _condition(condition: DraftCondition, path: str, field: str) -> Places:
    for sign in condition.form or "!" * condition.is_negated:
        path += _NEGATIONS.get(sign, ".!")
    yield path, field
    for position, part in enumerate(condition.conditions):
        inner = f"{path}.{condition.base_operator}[{position}]"
        yield from _condition(part, inner, f"{field}.conditions.{position}")


def _outcome(outcome: DraftOutcome, path: str, field: str) -> Places:
    yield path, field
    offset = 1 if outcome.by else 0
    for position in range(len(outcome.shares)):
        yield f"{path}.fractional[{position + offset}]", f"{field}.shares.{position}"
