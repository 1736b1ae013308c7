"""The attributes that rules of a flag need and the sampled keys lack."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.configuration.changes.references import names_in
from app.evaluation.data_access import lookup
from app.evaluation.nodes import MISSING
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, Targeting
from app.evaluation.rule_writer import write
from app.flags.sampling import variables_in
from app.names import joined_words

_GAPS_MAX = 5
# Rules that one sentence names.
_RULES_MAX = 3


@dataclass(frozen=True, kw_only=True)
class SampleGap:
    """An attribute that no sampled key has. `rules` is the subject of a sentence."""

    attribute: str
    rules: str


def sample_gaps(
    definition: Any,
    segments: Mapping[str, Any],
    base: Mapping[str, Any],
    varied: Sequence[str],
) -> list[SampleGap]:
    """Return the attributes of conditions that `base` lacks and that the sample does not vary."""
    rules_of: defaultdict[str, list[int]] = defaultdict(list)
    targeting = definition.get("targeting") if isinstance(definition, dict) else None
    for number, condition in _conditions(targeting or {}):
        for name in _attributes(condition, segments):
            if name not in varied and lookup(base, name.split(".")) is MISSING:
                rules_of[name].append(number)
    return [
        SampleGap(attribute=name, rules=_subject(numbers))
        for name, numbers in list(rules_of.items())[:_GAPS_MAX]
    ]


def rules_with_segments(rules: Sequence[Any], segments: Mapping[str, Any]) -> list[Any]:
    """Return the rules, and those of the segments to which they lead."""
    found: dict[str, Any] = {}
    waiting = [name for rule in rules for name in names_in(rule)]
    while waiting:
        name = waiting.pop()
        if name not in found and name in segments:
            found[name] = segments[name]
            waiting += names_in(segments[name])
    return [*rules, *found.values()]


def _conditions(targeting: Any) -> Iterator[tuple[int, Any]]:
    """Yield each condition with the number of its rule, 0 for a targeting without rules."""
    tree = read(targeting)
    if isinstance(tree, Advanced):
        yield 0, targeting
        return
    if tree.shorthand is not None:
        yield 0, targeting
    for number, rule in enumerate(tree.rules, start=1):
        yield number, write(Targeting(shorthand=rule.condition))


def _attributes(condition: Any, segments: Mapping[str, Any]) -> dict[str, None]:
    rules = rules_with_segments([condition], segments)
    return dict.fromkeys(name for rule in rules for name in variables_in(rule))


def _subject(numbers: Sequence[int]) -> str:
    if numbers == [0]:
        return "The targeting needs"
    if len(numbers) == 1:
        return f"Rule {numbers[0]} needs"
    names = list(map(str, numbers[:_RULES_MAX]))
    if others := len(numbers) - len(names):
        names.append(f"{others} more")
    return f"Rules {joined_words(names)} need"
