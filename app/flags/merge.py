"""Merge two edits of a flag that began from the same definition, part by part.

Parts are the members, each variant, each member of the metadata, and each rule. A part that one
side changed is taken from that side. A part that both sides changed differently is a conflict.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.flags.editing import Definition

Choice = Literal["mine", "theirs", "both"]
CHOICES: tuple[Choice, ...] = ("mine", "theirs", "both")
_OBJECTS = ("variants", "metadata")


@dataclass(frozen=True, kw_only=True)
class MergeConflict:
    """A part that both sides changed. UNSET is a part that one side lacks.

    Rules are in lists. `may_be_both` says that both sides added rules at the same place.
    """

    part: str
    mine: Any
    theirs: Any
    may_be_both: bool = False


@dataclass(frozen=True, kw_only=True)
class MergedDefinition:
    """The merged definition. Conflicts without a choice have the part of `theirs` in it."""

    definition: Definition
    conflicts: Sequence[MergeConflict]


@dataclass
class _Merger:
    choices: Mapping[str, Choice]
    conflicts: list[MergeConflict] = field(default_factory=list)

    def value(self, part: str, base: Any, mine: Any, theirs: Any) -> Any:
        if is_equal(mine, base) or is_equal(mine, theirs):
            return theirs
        if is_equal(theirs, base):
            return mine
        return self.chosen(MergeConflict(part=part, mine=mine, theirs=theirs))

    def chosen(self, conflict: MergeConflict) -> Any:
        match self.choices.get(conflict.part):
            case "mine":
                return conflict.mine
            case "theirs":
                return conflict.theirs
            case "both" if conflict.may_be_both:
                return [*conflict.theirs, *conflict.mine]
            case _:
                self.conflicts.append(conflict)
                return conflict.theirs

    def members(
        self, prefix: str, base: Any, mine: Any, theirs: Any, merge: Callable[..., Any]
    ) -> Definition:
        """Merge objects member by member, in the order of `theirs`, then of `mine`."""
        merged = {
            name: merge(
                f"{prefix}{name}",
                base.get(name, UNSET),
                mine.get(name, UNSET),
                theirs.get(name, UNSET),
            )
            for name in theirs | mine
        }
        return {name: value for name, value in merged.items() if value is not UNSET}

    def member(self, name: str, base: Any, mine: Any, theirs: Any) -> Any:
        sides = (base, mine, theirs)
        if is_equal(mine, base) or is_equal(theirs, base) or is_equal(mine, theirs):
            return self.value(name, *sides)
        if name in _OBJECTS and all(isinstance(side, dict) for side in sides):
            return self.members(f"{name} ", *sides, self.value)
        if name == "targeting":
            old, own, other = map(_rules_of, sides)
            if old and own and other:
                return write(self.targeting(old, own, other))
        return self.value(name, *sides)

    def targeting(self, base: Targeting, mine: Targeting, theirs: Targeting) -> Targeting:
        rules = [rule for part in self.rules(base, mine, theirs) for rule in part]
        otherwise = self.value("otherwise", *(tree.otherwise for tree in (base, mine, theirs)))
        is_nested = mine.is_nested if theirs.is_nested == base.is_nested else theirs.is_nested
        return Targeting(tuple(rules), otherwise, is_nested=is_nested and len(rules) > 1)

    def rules(
        self, base: Targeting, mine: Targeting, theirs: Targeting
    ) -> Iterator[Sequence[TargetingRule]]:
        """Yield the merged rules: between rules that all have, each stretch is merged alone."""
        sides = base.rules, mine.rules, theirs.rules
        start = (0, 0, 0)
        for common in [*_common(*sides), tuple(map(len, sides))]:
            old, own, other = (
                side[begin:end] for side, begin, end in zip(sides, start, common, strict=True)
            )
            yield from self.stretch(start[0], old, own, other)
            yield theirs.rules[common[2] : common[2] + 1]
            start = (common[0] + 1, common[1] + 1, common[2] + 1)

    def stretch(
        self,
        position: int,
        base: Sequence[TargetingRule],
        mine: Sequence[TargetingRule],
        theirs: Sequence[TargetingRule],
    ) -> Iterator[Sequence[TargetingRule]]:
        if len(base) == len(mine) == len(theirs):
            for offset, sides in enumerate(zip(base, mine, theirs, strict=True)):
                part = f"rule {position + offset + 1}"
                yield self.value(part, *([rule] for rule in sides))
        elif not base and mine and theirs and not is_equal(mine, theirs):
            part = f"rules after {position}"
            conflict = MergeConflict(
                part=part, mine=list(mine), theirs=list(theirs), may_be_both=True
            )
            yield self.chosen(conflict)
        else:
            part = f"rules {position + 1} to {position + len(base)}"
            yield self.value(part, list(base), list(mine), list(theirs))


def merge(
    base: Definition, mine: Definition, theirs: Definition, choices: Mapping[str, Choice]
) -> MergedDefinition:
    """Merge two definitions. `choices` decide conflicts by the name of their part."""
    merger = _Merger(choices)
    merged = merger.members("", base, mine, theirs, merger.member)
    return MergedDefinition(definition=merged, conflicts=merger.conflicts)


def is_equal(left: Any, right: Any) -> bool:
    """Compare JSON, because True equals 1 in Python."""
    return _canonical(left) == _canonical(right)


def _canonical(value: Any) -> bytes:
    return b"" if value is UNSET else msgspec.json.encode(value, order="sorted")


def _rules_of(targeting: Any) -> Targeting | None:
    """Return the tree of a targeting if it has rules that can be merged one by one."""
    tree = read({} if targeting is UNSET else targeting)
    return tree if isinstance(tree, Targeting) and tree.shorthand is None else None


def _common(
    base: Sequence[TargetingRule], mine: Sequence[TargetingRule], theirs: Sequence[TargetingRule]
) -> Iterator[tuple[int, ...]]:
    """Yield the positions of the rules that all sides have, in ascending order."""
    keys = [list(map(_canonical, rules)) for rules in (base, mine, theirs)]
    in_mine, in_theirs = _matches(keys[0], keys[1]), _matches(keys[0], keys[2])
    for position in sorted(in_mine.keys() & in_theirs.keys()):
        yield position, in_mine[position], in_theirs[position]


def _matches(left: list[bytes], right: list[bytes]) -> dict[int, int]:
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    return {block.a + n: block.b + n for block in blocks for n in range(block.size)}
