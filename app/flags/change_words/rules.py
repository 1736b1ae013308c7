"""Say which rules of a flag were added, removed, moved or changed.

A changed rule has its number after the change; a removed or moved one, the number before it.
"""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from msgspec import UNSET

from app.evaluation.rule_tree import Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.flags.change_words.conditions import (
    Subject,
    condition_key,
    describe_condition,
    share_a_part,
)
from app.flags.change_words.sentences import MOVED, NOW, WAS, Part, Sentence, name, sentence
from app.flags.change_words.splits import (
    EVERYONE,
    EVERYONE_ELSE,
    Defaults,
    Recipient,
    describe_outcome,
)
from app.flags.change_words.values import canonical
from app.flags.wording import condition_text, outcome_text

Rules = Sequence[TargetingRule]
# The positions of a rule after the change, by its position before.
Pairs = dict[int, int]


def describe_rules(before: Targeting, after: Targeting, defaults: Defaults) -> Iterator[Sentence]:
    """Yield the sentences of the rules in order, then of the contexts that match none."""
    old, new = before.rules, after.rules
    pairs = _pair(old, new)
    for position, rule in enumerate(old):
        if position not in pairs:
            text = outcome_text(rule.outcome, defaults.before)
            yield _with_rule(position, "removed", rule, text)
    yield from _move_texts(pairs)
    origins = {after_position: position for position, after_position in pairs.items()}
    for position, rule in enumerate(new):
        origin = origins.get(position)
        if origin is None:
            text = outcome_text(rule.outcome, defaults.after)
            yield _with_rule(position, "added", rule, text)
        else:
            yield from _describe_rule(origin, position, old[origin], rule, defaults)
    yield from _describe_rest(before, after, defaults)


def _describe_rest(before: Targeting, after: Targeting, defaults: Defaults) -> Iterator[Sentence]:
    old, new = (None if tree.otherwise is UNSET else tree.otherwise for tree in (before, after))
    # A change of the default variant has a sentence of its own.
    if old is not None or new is not None:
        yield from describe_outcome(EVERYONE_ELSE if after.rules else EVERYONE, old, new, defaults)


def _with_rule(position: int, done: str, rule: TargetingRule, outcome: str) -> Sentence:
    condition = name(condition_text(rule.condition))
    start: tuple[Part, ...] = (f"Rule {position + 1} ", WAS, f" {done}: if ")
    return sentence(*start, condition, ", serve ", name(outcome))


def _describe_rule(
    origin: int, position: int, before: TargetingRule, after: TargetingRule, defaults: Defaults
) -> Iterator[Sentence]:
    if _rule_key(before) == _rule_key(after):
        return
    number = f"rule {position + 1}"
    if origin != position:
        number += f" (before: rule {origin + 1})"
    start = number.capitalize()
    subject = Subject(start=(start,), within=(number,))
    recipient = Recipient(gets=(f"{start} ", NOW, "serves "), where=f" in {number}")
    described = [
        *describe_condition(subject, before.condition, after.condition),
        *describe_outcome(recipient, before.outcome, after.outcome, defaults),
    ]
    yield from described or [sentence(f"{start} has another form; its words are the same")]


def _pair(old: Rules, new: Rules) -> Pairs:
    """Pair each rule with its successor: the same, or of the same condition, or at its place."""
    pairs: Pairs = {}
    _pair_by(_rule_key, old, new, pairs)
    _pair_by(lambda rule: condition_key(rule.condition), old, new, pairs)
    _pair_by_place(old, new, pairs)
    return pairs


def _pair_by(key: Callable[[TargetingRule], str], old: Rules, new: Rules, pairs: Pairs) -> None:
    candidates: defaultdict[str, list[int]] = defaultdict(list)
    taken = set(pairs.values())
    for position in reversed(range(len(new))):
        if position not in taken:
            candidates[key(new[position])].append(position)
    for position, rule in enumerate(old):
        if position not in pairs and (found := candidates.get(key(rule))):
            pairs[position] = found.pop()


def _pair_by_place(old: Rules, new: Rules, pairs: Pairs) -> None:
    """Pair the rules between the same two neighbours that have an outcome or a part in common."""
    origins = {after_position: position for position, after_position in pairs.items()}
    gaps: defaultdict[int, deque[int]] = defaultdict(deque)
    neighbour = -1
    for position in range(len(new)):
        if position in origins:
            neighbour = origins[position]
        else:
            gaps[neighbour].append(position)
    neighbour = -1
    for position, rule in enumerate(old):
        if position in pairs:
            neighbour = position
            continue
        if gaps[neighbour] and _are_similar(rule, new[gaps[neighbour][0]]):
            pairs[position] = gaps[neighbour].popleft()


def _are_similar(before: TargetingRule, after: TargetingRule) -> bool:
    return before.outcome == after.outcome or share_a_part(before.condition, after.condition)


def _rule_key(rule: TargetingRule) -> str:
    return canonical(write(Targeting((rule,))))


def _moved(pairs: Pairs) -> set[int]:
    """Return the smallest set of rules that moved, by their position before.

    The others are the longest increasing subsequence of the positions after.
    """
    tails: list[int] = []
    ends: list[int] = []
    previous: dict[int, int | None] = {}
    for position in sorted(pairs):
        place = bisect_left(tails, pairs[position])
        previous[position] = ends[place - 1] if place else None
        if place == len(tails):
            tails.append(pairs[position])
            ends.append(position)
        else:
            tails[place], ends[place] = pairs[position], position
    staying: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        staying.add(last)
        last = previous[last]
    return pairs.keys() - staying


def _move_texts(pairs: Pairs) -> Iterator[Sentence]:
    """Name the place of each moved rule by the nearest rule that stayed."""
    moved = _moved(pairs)
    # Positions that stayed ascend both before and after the change.
    staying = sorted(pairs.keys() - moved)
    places = [pairs[position] for position in staying]
    for position in sorted(moved):
        index = bisect_left(places, pairs[position])
        if index and staying[index - 1] > position:
            yield sentence(f"Rule {position + 1} ", MOVED, f" below rule {staying[index - 1] + 1}")
        else:
            yield sentence(f"Rule {position + 1} ", MOVED, f" above rule {staying[index] + 1}")
