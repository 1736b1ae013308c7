"""The buttons of the flag editor: each changes the draft, and names what changed.

The value of a button is a verb and the path of the part, such as `up rules.1`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from app.console.flag.conditions import fit_condition
from app.console.flag.draft import (
    SPLIT,
    DraftCondition,
    DraftMember,
    DraftOutcome,
    DraftRule,
    DraftShare,
    DraftVariant,
    FlagDraft,
)
from app.console.flag.draft_parts import part_at, place_of, replace_at
from app.console.flag.outcomes import fit_outcome, percent_text
from app.console.flag.values import encode
from app.errors import invalid, malformed

RULES_MAX = 1_000
_NEW_VALUES = {"boolean": "true", "number": "0", "object": "{}"}


@dataclass(frozen=True, kw_only=True)
class ActionEffect:
    """The effect of a button. `focus` is the path of the part that gets the focus."""

    text: str = ""
    focus: str = ""


def act(draft: FlagDraft, action: str) -> ActionEffect:
    """Change the draft by the value of a button. Raises Malformed, and Invalid for a refusal."""
    verb, _, path = action.partition(" ")
    path, _, argument = path.partition(" ")
    try:
        effect = _act(draft, verb, path, argument)
    except (LookupError, AttributeError, ValueError):
        raise malformed("action", "names a part that this form does not have") from None
    fit(draft)
    return effect


def fit(draft: FlagDraft) -> None:
    """Complete the parts that a choice needs: the type of a value, the parts of a split."""
    for variant in draft.variants:
        # Rules follow a new variant too when it is renamed.
        variant.was = variant.was or variant.name
    names = [encode(variant.was or variant.name) for variant in draft.variants]
    for rule in draft.rules:
        fit_condition(rule.condition)
        fit_outcome(rule.outcome, names)
    fit_outcome(draft.otherwise, names)


def _act(draft: FlagDraft, verb: str, path: str, argument: str) -> ActionEffect:  # noqa: PLR0911, C901 - one for each button
    match verb, path:
        case "check", _:
            return ActionEffect()
        case "add", "rules":
            return _add_rule(draft)
        case "add", "variants":
            draft.variants.append(DraftVariant(value=_NEW_VALUES.get(draft.type, "")))
            return ActionEffect(
                text="Variant added.", focus=f"variants.{len(draft.variants) - 1}.name"
            )
        case "add", "metadata":
            draft.metadata.append(DraftMember())
            return ActionEffect(
                text="Member added.", focus=f"metadata.{len(draft.metadata) - 1}.name"
            )
        case "add" | "add-segment" | "add-flag" | "add-group", _:
            return _add_condition(draft, verb, path)
        case "add-part", _:
            return _add_share(draft, path)
        case "equal", _:
            outcome = part_at(draft, path, DraftOutcome)
            outcome.shares = _equal(outcome.shares)
            return ActionEffect(text="All parts are equal.", focus=f"{path}.shares.0.percent")
        case "up" | "down" | "move", _:
            return _move(draft, verb, path, argument)
        case "copy", _:
            return _copy_rule(draft, path)
        case "remove", _:
            return _remove(draft, path)
        case _:
            raise malformed("action", "is not a button of this form")


def _add_rule(draft: FlagDraft) -> ActionEffect:
    if len(draft.rules) >= RULES_MAX:
        raise invalid("rules", f"must be at most {RULES_MAX}")
    draft.rules.append(DraftRule(uid=_new_uid(draft), outcome=DraftOutcome(serve=_first(draft))))
    _leave_shorthand(draft)
    number = len(draft.rules)
    return ActionEffect(
        text=f"Rule {number} added.", focus=f"rules.{number - 1}.condition.attribute"
    )


def _first(draft: FlagDraft) -> str:
    """Return the variant that a new rule serves: the first one that is not the default."""
    names = [encode(variant.was or variant.name) for variant in draft.variants]
    return next((name for name in names if name != draft.default), "null")


def _leave_shorthand(draft: FlagDraft) -> None:
    if draft.shape == "shorthand":
        draft.shape = ""


def _new_uid(draft: FlagDraft) -> str:
    numbers = [int(rule.uid) for rule in draft.rules if rule.uid.isdecimal()]
    return str(max(numbers, default=-1) + 1)


def _add_condition(draft: FlagDraft, verb: str, path: str) -> ActionEffect:
    """Add a condition to a group. A single condition becomes a group of two."""
    condition = part_at(draft, path, DraftCondition)
    new = {
        "add": DraftCondition(),
        "add-segment": DraftCondition(kind="segment", operator="in"),
        "add-flag": DraftCondition(kind="flag", operator="gives"),
        "add-group": DraftCondition(kind="group", operator="or", conditions=[DraftCondition()]),
    }[verb]
    if condition.kind != "group":
        group = DraftCondition(kind="group", operator="and", conditions=[condition])
        replace_at(draft, path, group)
        condition = group
    condition.conditions.append(new)
    place = f"{path}.conditions.{len(condition.conditions) - 1}"
    names = {"add": "attribute", "add-segment": "segment", "add-flag": "flag"}
    names["add-group"] = "conditions.0.attribute"
    return ActionEffect(text="Condition added.", focus=f"{place}.{names[verb]}")


def _add_share(draft: FlagDraft, path: str) -> ActionEffect:
    outcome = part_at(draft, path, DraftOutcome)
    used = {share.variant for share in outcome.shares}
    names = [encode(variant.was or variant.name) for variant in draft.variants]
    variant = next((name for name in names if name not in used), names[0] if names else "null")
    outcome.shares.append(DraftShare(variant=variant, percent="0"))
    return ActionEffect(
        text="Part added.", focus=f"{path}.shares.{len(outcome.shares) - 1}.percent"
    )


def _equal(shares: list[DraftShare]) -> list[DraftShare]:
    percent = percent_text(1, len(shares))
    return [DraftShare(variant=share.variant, percent=percent) for share in shares]


def _move(draft: FlagDraft, verb: str, path: str, argument: str) -> ActionEffect:
    items, position = place_of(draft, path)
    if items is not draft.rules:
        raise LookupError(path)
    target = int(argument) if verb == "move" else position + (1 if verb == "down" else -1)
    target = min(max(target, 0), len(items) - 1)
    items.insert(target, items.pop(position))
    # The button at the end of the list is disabled, and would lose the focus.
    ends = {0: "down", len(items) - 1: "up"}
    focus = f"{ends[target]} rules.{target}" if verb != "move" and target in ends else ""
    return ActionEffect(text=f"Rule {position + 1} is now rule {target + 1}.", focus=focus)


def _copy_rule(draft: FlagDraft, path: str) -> ActionEffect:
    _, position = place_of(draft, path)
    rule = msgspec.convert(msgspec.to_builtins(part_at(draft, path, DraftRule)), DraftRule)
    rule.uid = _new_uid(draft)
    draft.rules.insert(position + 1, rule)
    _leave_shorthand(draft)
    return ActionEffect(text=f"Rule {position + 1} copied.")


def _remove(draft: FlagDraft, path: str) -> ActionEffect:
    items, position = place_of(draft, path)
    item = items[position]
    if isinstance(item, DraftVariant):
        check_unused(draft, position)
    del items[position]
    if isinstance(item, DraftRule):
        _leave_shorthand(draft)
        return ActionEffect(text=f"Rule {position + 1} removed.", focus="add rules")
    owner = path.rsplit(".", 2)[0]
    if isinstance(item, DraftCondition):
        _unwrap(draft, owner)
        # The buttons below the outermost group are always there.
        owner = ".".join(path.split(".")[:3])
        return ActionEffect(text="Condition removed.", focus=f"add {owner}")
    if isinstance(item, DraftShare):
        return ActionEffect(text="Part removed.", focus=f"add-part {owner}")
    return ActionEffect(text="Removed.", focus=f"add {path.partition('.')[0]}")


def _unwrap(draft: FlagDraft, path: str) -> None:
    """Replace a group of one condition by the condition, and one of none by a new condition."""
    group = part_at(draft, path, DraftCondition)
    if len(group.conditions) == 1 and not group.is_negated:
        replace_at(draft, path, group.conditions[0])
    elif not group.conditions:
        replace_at(draft, path, DraftCondition())


def check_unused(draft: FlagDraft, position: int) -> None:
    """Raise Invalid when the default or a rule serves the variant."""
    variant = draft.variants[position]
    users = list(_users(draft, encode(variant.was or variant.name)))
    if users:
        rule = f"cannot be removed, because {' and '.join(users[:3])} serves it"
        raise invalid(f"variants.{position}", rule)


def _users(draft: FlagDraft, name: str) -> Iterator[str]:
    if draft.default == name:
        yield "the default"
    for number, rule in enumerate(draft.rules, start=1):
        if _serves(rule.outcome, name):
            yield f"rule {number}"
    if _serves(draft.otherwise, name):
        yield "the last rule"


def _serves(outcome: DraftOutcome, name: str) -> bool:
    if outcome.serve == SPLIT:
        return any(share.variant == name for share in outcome.shares)
    return outcome.serve == name
