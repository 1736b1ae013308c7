"""The rules of a flag as sentences, for pages without an edit."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from app.console.flag.conditions import draft_condition, label_of
from app.console.flag.draft import DraftCondition
from app.console.flag.outcomes import percent_text
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, VariantSplit

# The parts of a sentence: a text, and whether it is a name.
Parts = list[tuple[str, bool]]

_GROUPS = {
    "and": " and ",
    "or": " or ",
}


def rule_sentences(definition: Any) -> list[Parts]:
    """Return one sentence for each rule, the last for all other contexts. Empty if advanced."""
    if not isinstance(definition, dict):
        return []
    tree = read(definition.get("targeting") or {})
    if isinstance(tree, Advanced):
        return []
    default = definition.get("defaultVariant")
    if tree.shorthand is not None:
        condition = list(_condition(draft_condition(tree.shorthand)))
        return [
            [("If ", False), *condition, (" → serve ", False), ("true", True)],
            [("Otherwise serve ", False), ("false", True)],
        ]
    sentences = [
        [
            ("If ", False),
            *_condition(draft_condition(rule.condition)),
            (" → serve ", False),
            *_outcome(rule.outcome, default),
        ]
        for rule in tree.rules
    ]
    start = "Otherwise serve " if tree.rules else "Serve "
    sentences.append([(start, False), *_outcome(tree.otherwise, default)])
    return sentences


def _condition(condition: DraftCondition) -> Iterator[tuple[str, bool]]:
    match condition.kind:
        case "segment":
            yield "in segment " if not condition.is_negated else "not in segment ", False
            yield condition.segment, True
        case "group":
            if condition.is_negated:
                yield "not ", False
            yield "(", False
            for position, part in enumerate(condition.conditions):
                if position:
                    yield _GROUPS[condition.base_operator], False
                yield from _condition(part)
            yield ")", False
        case _:
            yield condition.attribute, True
            yield f" {label_of(condition.operator)} ", False
            for position, item in enumerate(condition.value.split("\n") if condition.value else []):
                if position:
                    yield ", ", False
                yield item, True


def _outcome(outcome: Any, default: str | None) -> Iterator[tuple[str, bool]]:
    if isinstance(outcome, VariantSplit):
        total = sum(share.parts for share in outcome.shares)
        for position, share in enumerate(outcome.shares):
            yield f"{', ' if position else ''}{percent_text(share.parts, total)} % ", False
            yield from _variant(share.variant, default)
        if outcome.attribute is not None:
            yield " by ", False
            yield outcome.attribute.name, True
        return
    yield from _variant(None if outcome is UNSET else outcome, default)


def _variant(variant: Any, default: str | None) -> Iterator[tuple[str, bool]]:
    if variant is None:
        yield (default, True) if default is not None else ("the default in the code", False)
    else:
        yield ("true" if variant else "false") if isinstance(variant, bool) else variant, True
