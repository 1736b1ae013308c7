"""An explanation as the rules of the flag in words: which one decided, and which did not match."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.evaluation.explain import EvaluationStep, Explanation
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced
from app.evaluation.values import is_truthy
from app.flags.wording import variant_text

# Rules of one context. The one that decided is shown in any case.
_RULES_MAX = 30
_BEFORE_RULES = -1


@dataclass(frozen=True, kw_only=True)
class TracedRule:
    """A rule in words. `state`: matched, failed, skipped, or unknown after an error."""

    text: str
    state: str


@dataclass(frozen=True, kw_only=True)
class TracedStep:
    """An operator that ran. `values` and `outcome` are JSON, or the outcome says why it failed."""

    place: str
    values: Sequence[str]
    outcome: str
    is_error: bool
    steps: Sequence["TracedStep"]


@dataclass(frozen=True, kw_only=True)
class RuleTrace:
    """The rules of a flag for one context, without `hidden` ones of a long list.

    `drawn` is the number of a split, in words.
    """

    rules: Sequence[TracedRule]
    hidden: int
    drawn: str
    steps: Sequence[TracedStep]
    is_complete: bool


def rule_trace(definition: Any, texts: Sequence[str], explanation: Explanation) -> RuleTrace:
    """Return the trace of an explanation. `texts` are the lines that describe the definition."""
    needs = [s for s in explanation.steps if s.operator == "flag" and not _is_targeting(s)]
    # The first prerequisite that does not hold is the last one that was evaluated.
    is_unmet = bool(needs) and needs[-1].outcome is False
    decided = _BEFORE_RULES if is_unmet else _decided(definition, explanation.steps)
    shown = [number for number in range(len(texts)) if number < _RULES_MAX or number == decided]
    return RuleTrace(
        rules=[
            *(_traced_need(definition, step) for step in needs),
            *(TracedRule(text=texts[number], state=_state(number, decided)) for number in shown),
        ],
        hidden=len(texts) - len(shown),
        drawn=_drawn(explanation.steps),
        steps=list(map(_traced, explanation.steps)),
        is_complete=explanation.is_complete,
    )


def _is_targeting(step: EvaluationStep) -> bool:
    return step.place.startswith("targeting.")


def _traced_need(definition: Any, step: EvaluationStep) -> TracedRule:
    """Return a prerequisite in words. It decides if it does not hold."""
    flag, variant = step.operands
    off = variant_text(definition.get("offVariant"), definition.get("defaultVariant"))
    text = f"{off} unless {flag} gives {variant}"
    # The reader may not see what a flag of others gives.
    if step.needed is not None:
        text = f"{text}: it gives {step.needed.variant or 'no variant'}"
    return TracedRule(text=text, state="matched" if step.outcome is False else "failed")


def _traced(step: EvaluationStep) -> TracedStep:
    outcome = "nothing" if step.outcome is msgspec.UNSET else _json(step.outcome)
    return TracedStep(
        place=step.place.removeprefix("targeting."),
        values=list(map(_json, step.operands)),
        outcome=outcome if step.error is None else step.error,
        is_error=step.error is not None,
        steps=list(map(_traced, step.steps)),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _state(number: int, decided: int | None) -> str:
    if decided is None:
        return "unknown"
    return "failed" if number < decided else "matched" if number == decided else "skipped"


def _decided(definition: Any, steps: Sequence[EvaluationStep]) -> int | None:
    """Return the number of the rule that decided, None after an error or for advanced rules."""
    targeting = definition.get("targeting") if isinstance(definition, dict) else None
    tree = read(targeting or {})
    if isinstance(tree, Advanced):
        return None
    first = next(filter(_is_targeting, steps), None)
    if not tree.rules or first is None:
        return 0
    for number, condition in enumerate(_conditions(targeting, first, is_nested=tree.is_nested)):
        if condition is None or condition.outcome is msgspec.UNSET:
            return None
        if is_truthy(condition.outcome):
            return number
    return len(tree.rules)


def _conditions(
    node: Any, step: EvaluationStep | None, *, is_nested: bool
) -> Iterator[EvaluationStep | None]:
    """Yield the step of each rule's condition, None where it did not run."""
    operands: list[Any] = node["if"]
    last = len(operands) - 1
    for position in range(0, last, 2):
        yield None if step is None else _child(step, position)
    rest = operands[last] if is_nested and len(operands) % 2 else None
    if isinstance(rest, dict) and "if" in rest:
        inner = None if step is None else _child(step, last)
        yield from _conditions(rest, inner, is_nested=True)


def _child(step: EvaluationStep, position: int) -> EvaluationStep | None:
    prefix = f"{step.place}[{position}]."
    return next((child for child in step.steps if child.place.startswith(prefix)), None)


def _drawn(steps: Sequence[EvaluationStep]) -> str:
    """Return the number of the last split that was drawn, in words."""
    waiting, text = list(steps), ""
    while waiting:
        step = waiting.pop()
        if step.split is not None and step.split.bucket is not None:
            text = f"drew {step.split.bucket} in 0 to {step.split.total_weight - 1}"
        waiting += step.steps
    return text
