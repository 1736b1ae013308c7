"""Plain data for the templates of the preview: bars, the two-way table, contexts, guards."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.flag.context_forms import ContextForm
from app.console.flag.rule_trace import RuleTrace, rule_trace
from app.evaluation.explain import Explanation
from app.flags.change_words.sentences import shortened
from app.flags.flag_pair import MISSING_FLAG
from app.flags.preview_views import ContextPreview, FlagPreview, Movement, Preview, Refusal
from app.flags.sampling import outcome_name
from app.flags.wording import describe, in_force

_SHADES = 4
# Outcomes of the bars and of the table.
_OUTCOMES_MAX = 12
_OTHER_SHADE = 5
_TITLE_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class BarPart:
    """A part of a bar. `start` and `keys` are numbers of sampled keys."""

    name: str
    start: int
    keys: int
    shade: int


@dataclass(frozen=True, kw_only=True)
class ContextCard:
    """A context with its outcomes. `guard` is the guard that would retain the outcome, as JSON."""

    number: int
    title: str
    before: str
    after: str
    is_changed: bool
    trace: RuleTrace | None
    trace_before: RuleTrace | None
    guard: str


@dataclass(frozen=True, kw_only=True)
class GuardRow:
    position: int
    name: str
    context: str
    expected: str
    actual: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class PreviewPanel:
    """The preview of one flag. `rows` and `columns` name the outcomes of the two-way table."""

    refusals: Sequence[Refusal]
    keys: int
    changed: int
    attributes: Sequence[str]
    bars: Sequence[tuple[str, Sequence[BarPart]]]
    rows: Sequence[tuple[str, Sequence[int]]]
    columns: Sequence[str]
    contexts: Sequence[ContextCard]
    guards: Sequence[GuardRow]
    is_complete: bool


def panel_of(
    preview: Preview, contexts: Sequence[dict[str, Any]], before: Any, after: Any
) -> PreviewPanel:
    """Return the data of a preview. `before` and `after` are the definitions of its flag."""
    of_flag = preview.flags[0] if preview.flags else None
    movements = of_flag.sample.movements if of_flag is not None else []
    counts = _grouped(movements)
    names = ordered_names(before, after, {name for pair in counts for name in pair})
    columns = [name for name in names if any(pair[1] == name for pair in counts)]
    return PreviewPanel(
        # Broken guards have their own list.
        refusals=[item for item in preview.refusals if item.code != "guard_broken"],
        keys=of_flag.sample.keys if of_flag is not None else 0,
        changed=of_flag.sample.changed if of_flag is not None else 0,
        attributes=of_flag.sample.attributes if of_flag is not None else [],
        bars=_bars(counts, names),
        rows=[
            (in_words(name), [counts.get((name, column), 0) for column in columns])
            for name in names
            if any(pair[0] == name for pair in counts)
        ],
        columns=list(map(in_words, columns)),
        contexts=_cards(of_flag, contexts, before, after),
        guards=_guard_rows(of_flag, after),
        is_complete=preview.is_complete,
    )


def _grouped(movements: Sequence[Movement]) -> Counter[tuple[str, str]]:
    """Return the keys by outcomes. Rare ones are one: 200 variants would make 40,000 cells."""
    totals: Counter[str] = Counter()
    for item in movements:
        totals[item.before] += item.keys
        totals[item.after] += item.keys
    shown = {name for name, _ in totals.most_common(_OUTCOMES_MAX)}
    rest = f"{len(totals) - len(shown)} others"
    counts: Counter[tuple[str, str]] = Counter()
    for item in movements:
        pair = [name if name in shown else rest for name in (item.before, item.after)]
        counts[pair[0], pair[1]] += item.keys
    return counts


def in_words(outcome: str) -> str:
    return "no flag" if outcome == MISSING_FLAG else outcome


def ordered_names(before: Any, after: Any, counted: set[str]) -> list[str]:
    """Return the counted outcomes: variants in the order of the definition, then others."""
    variants = {**_object(before, "variants"), **_object(after, "variants")}
    return [*(name for name in variants if name in counted), *sorted(counted - variants.keys())]


def _object(definition: Any, name: str) -> Mapping[str, Any]:
    value = definition.get(name) if isinstance(definition, dict) else None
    return value if isinstance(value, dict) else {}


def _bars(
    counts: Mapping[tuple[str, str], int], names: Sequence[str]
) -> Sequence[tuple[str, Sequence[BarPart]]]:
    if all(before == after for before, after in counts):
        return [("Now and after", _bar(counts, names, 0))]
    return [("Now", _bar(counts, names, 0)), ("After", _bar(counts, names, 1))]


def _bar(
    counts: Mapping[tuple[str, str], int], names: Sequence[str], side: int
) -> Sequence[BarPart]:
    totals: Counter[str] = Counter()
    for pair, keys in counts.items():
        totals[pair[side]] += keys
    return bar_of(totals, names)


def bar_of(totals: Counter[str], names: Sequence[str]) -> Sequence[BarPart]:
    """Return the parts of a bar, in the order of the names of outcomes."""
    parts, start = [], 0
    for position, name in enumerate(names):
        if totals[name]:
            shade = position + 1 if position < _SHADES else _OTHER_SHADE
            parts.append(BarPart(name=in_words(name), start=start, keys=totals[name], shade=shade))
            start += totals[name]
    return parts


def _cards(
    of_flag: FlagPreview | None, contexts: Sequence[dict[str, Any]], before: Any, after: Any
) -> list[ContextCard]:
    if of_flag is None:
        return []
    before, after = (in_force(part) if isinstance(part, dict) else part for part in (before, after))
    texts_before, texts_after = list(describe(before)), list(describe(after))

    def card(number: int, context: dict[str, Any], outcomes: ContextPreview) -> ContextCard:
        old, new = outcomes.before, outcomes.after
        variant = (new.outcome.variant if new is not None else None) or None
        return ContextCard(
            number=number,
            title=_title(context),
            before=_name(old),
            after=_name(new),
            is_changed=outcomes.changed,
            trace=None if new is None else rule_trace(after, texts_after, new),
            trace_before=None if old is None else rule_trace(before, texts_before, old),
            guard=json.dumps({"context": context, "variant": variant}, ensure_ascii=False),
        )

    pairs = zip(contexts, of_flag.contexts, strict=True)
    return [card(number, *pair) for number, pair in enumerate(pairs, start=1)]


def _name(explanation: Explanation | None) -> str:
    return in_words(MISSING_FLAG if explanation is None else outcome_name(explanation.outcome))


def _title(context: dict[str, Any]) -> str:
    text = ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in context.items()
    )
    return shortened(text, _TITLE_CHARACTERS)


def _guard_rows(of_flag: FlagPreview | None, definition: Any) -> list[GuardRow]:
    guards = definition.get("guards") if isinstance(definition, dict) else None
    if of_flag is None or not isinstance(guards, list):
        return []
    return [
        GuardRow(
            position=result.position,
            name=result.name,
            context=_title(guards[result.position]["context"]),
            expected=result.variant or "no variant",
            actual=result.actual or "no variant",
            holds=result.holds,
        )
        for result in of_flag.guards
    ]


def context_errors(forms: Sequence[ContextForm], sample_error: str) -> list[str]:
    """Return the errors of the contexts, each with its number, and that of the sampled keys."""
    errors = [
        f"Context {number}: {form.error}" for number, form in enumerate(forms, 1) if form.error
    ]
    return [*errors, f"Sampled keys: {sample_error}"] if sample_error else errors
