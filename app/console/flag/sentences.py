"""The rules of a flag as sentences, for pages without an edit."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from app.console.flag.conditions import draft_condition
from app.console.flag.draft import DraftCondition
from app.console.flag.operators import OPERATORS, label_of
from app.console.flag.outcomes import percent_text
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, VariantSplit
from app.flags.change_words.sentences import Sentence, SentencePart

_JOINTS = {"and": " and ", "or": " or "}
# Labels of operators that need a verb in a sentence begin with these words.
_WITHOUT_VERB = ("greater", "at", "less", "version", "not")


def rule_sentences(definition: Any) -> list[Sentence]:
    """Return one sentence for each rule, the last for all other contexts. Empty if advanced."""
    if not isinstance(definition, dict):
        return []
    tree = read(definition.get("targeting") or {})
    if isinstance(tree, Advanced):
        return []
    default = definition.get("defaultVariant")
    if tree.shorthand is not None:
        condition = _condition(draft_condition(tree.shorthand))
        return [
            (_text("If "), *condition, _text(" → serve "), _name("true")),
            (_text("Otherwise serve "), _name("false")),
        ]
    sentences: list[Sentence] = [
        (
            _text("If "),
            *_condition(draft_condition(rule.condition)),
            _text(" → serve "),
            *_outcome(rule.outcome, default),
        )
        for rule in tree.rules
    ]
    start = "Otherwise serve " if tree.rules else "Serve "
    return [*sentences, (_text(start), *_outcome(tree.otherwise, default))]


def _condition(condition: DraftCondition, *, is_inner: bool = False) -> Iterator[SentencePart]:
    match condition.kind:
        case "segment":
            yield _text("not in segment " if condition.is_negated else "in segment ")
            yield _name(condition.segment)
        case "flag":
            yield _name(condition.flag)
            yield _text(" does not give " if condition.is_negated else " gives ")
            yield _name(condition.value)
        case "group":
            has_brackets = is_inner or condition.is_negated
            yield _text(("not (" if condition.is_negated else "(") if has_brackets else "")
            for position, part in enumerate(condition.conditions):
                if position:
                    yield _text(_JOINTS[condition.base_operator])
                yield from _condition(part, is_inner=True)
            yield _text(")" if has_brackets else "")
        case _:
            label = label_of(condition.operator)
            verb = "is " if label.startswith(_WITHOUT_VERB) else ""
            yield _name(condition.attribute)
            yield _text(f" {verb}{label} ")
            if OPERATORS[condition.base_operator].types:
                yield from _value(condition)


def _value(condition: DraftCondition) -> Iterator[SentencePart]:
    is_list = condition.type in ("texts", "numbers")
    if is_list and not condition.value:
        yield _text("(nothing)")
        return
    items = condition.value.split("\n") if is_list else [condition.value]
    for position, item in enumerate(items):
        if position:
            yield _text(", ")
        is_quoted = not item or (is_list and "," in item)
        yield _name(f'"{item}"' if is_quoted else item)


def _outcome(outcome: Any, default: str | None) -> Iterator[SentencePart]:
    if isinstance(outcome, VariantSplit):
        total = sum(share.parts for share in outcome.shares)
        for position, share in enumerate(outcome.shares):
            comma = ", " if position else ""
            yield _text(f"{comma}{percent_text(share.parts, total)} % ")
            yield from _variant(share.variant, default)
        if outcome.attribute is not None:
            yield _text(" by ")
            yield _name(outcome.attribute.name)
        return
    yield from _variant(None if outcome is UNSET else outcome, default)


def _variant(variant: Any, default: str | None) -> Iterator[SentencePart]:
    match variant:
        case None if default is None:
            yield _text("the default in the code")
        case None:
            yield _name(str(default))
        case bool():
            yield _name("true" if variant else "false")
        case _:
            yield _name(variant)


def _text(text: str) -> SentencePart:
    return SentencePart(text)


def _name(text: str) -> SentencePart:
    return SentencePart(text, is_name=True)
