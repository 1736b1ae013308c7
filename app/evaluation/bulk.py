"""Evaluate all flags for one context, with the outcomes of single evaluations at lower cost.

Outcomes of flags whose rules only test one attribute against some strings are cached: such rules
have one result per string, one for all other strings, and one for a missing attribute.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from app.evaluation.body_block import BodyBlock
from app.evaluation.choice_groups import ChoiceEvaluation, ChoiceGroups
from app.evaluation.engine import Flag
from app.evaluation.nodes import Closure
from app.evaluation.run import STEPS_MAX, Run

# The limits of the cache of a group; beyond them it is cleared. Without them, large variants for
# each of many strings would fill the memory.
BLOCKS_MAX = 64
BLOCKS_BYTES_MAX = 1024 * 1024
_ANY_OTHER = object()
# The number of flags that are evaluated before the caller can yield to the event loop.
_BATCH_FLAGS = 64
# The steps of one bulk evaluation, so that one request cannot run 10,000 costly rules.
BULK_STEPS_MAX = 50 * STEPS_MAX
# In a smaller group, evaluating costs no more than the lookup of cached bodies.
_GROUP_FLAGS = 4
# About the number of flags that are planned again when one of them changes.
_SECTION_FLAGS = 256


class Group:
    """Flags whose rules only test whether one attribute is one of some strings."""

    def __init__(self, attribute: str, flags: Sequence[Flag]) -> None:
        self.flags = flags
        self._attribute = attribute
        self._texts = frozenset[str]().union(
            *(flag.text_test.texts for flag in flags if flag.text_test)
        )
        self._blocks: dict[Any, BodyBlock] = {}
        self._bytes = 0

    def block(self, context: Mapping[str, Any]) -> BodyBlock | None:
        """Return the outcomes for a context; None if the attribute is set and not a string."""
        value = context.get(self._attribute)
        if value is not None and type(value) is not str:
            return None
        cache_key = value if value is None or value in self._texts else _ANY_OTHER
        block = self._blocks.get(cache_key)
        if block is None:
            only = {self._attribute: value}
            block = BodyBlock([flag.body(only, Run(only, 0)) for flag in self.flags])
            self._store(cache_key, block)
        return block

    def _store(self, cache_key: Any, block: BodyBlock) -> None:
        size = len(block.joined)
        if size > BLOCKS_BYTES_MAX:
            return
        if len(self._blocks) >= BLOCKS_MAX or self._bytes + size > BLOCKS_BYTES_MAX:
            self._blocks.clear()
            self._bytes = 0
        self._blocks[cache_key] = block
        self._bytes += size


class _Plan(NamedTuple):
    """Flags by how they are evaluated: always the same, by one attribute, or by their rules.

    `choices` has those of the ruled flags that choose among known answers.
    """

    always: Sequence[BodyBlock]
    groups: Sequence[Group]
    ruled: Sequence[Flag]
    choices: ChoiceGroups


class _Planned(NamedTuple):
    """A plan, the instant from which it is valid, and the one from which it is not."""

    plan: _Plan
    begin: float
    end: float


class _Section:
    """A part of the flags; their plan is made at the first evaluation.

    It is made again when a flag that chooses by the time may choose otherwise.
    """

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self.flags = flags
        self._planned: _Planned | None = None

    def plan_at(self, now: int) -> _Plan:
        planned = self._planned
        if planned is None or not planned.begin <= now < planned.end:
            timed = [flag.transitions for flag in self.flags.values() if flag.choice_at is not None]
            instants = [instant for transitions in timed for instant in transitions]
            planned = self._planned = _Planned(
                self._plan_for(now),
                max((instant for instant in instants if instant <= now), default=-math.inf),
                min((instant for instant in instants if instant > now), default=math.inf),
            )
        return planned.plan

    def _plan_for(self, now: int) -> _Plan:
        fixed: list[Flag] = []
        ruled: list[Flag] = []
        by_attribute: defaultdict[str, list[Flag]] = defaultdict(list)
        for _, flag in sorted(self.flags.items()):
            if flag.rule is None:
                fixed.append(flag)
            elif flag.text_test is None:
                ruled.append(flag)
            else:
                by_attribute[flag.text_test.attribute].append(flag)
        groups = []
        for attribute, flags in by_attribute.items():
            if len(flags) < _GROUP_FLAGS:
                ruled += flags
            else:
                groups.append(Group(attribute, flags))
        always = [BodyBlock([flag.fixed_body for flag in fixed])] if fixed else []
        return _Plan(always, groups, ruled, ChoiceGroups(ruled, now))


class Bulk:
    """The flags of a ruleset in sections; changing a flag replaces only its section."""

    def __init__(self, sections: Sequence[_Section] = ()) -> None:
        self._sections = sections

    def with_changes(self, flags: Mapping[str, Flag], changed: Iterable[str]) -> "Bulk":
        """Return a bulk of the new flags; `changed` are the keys added, changed or removed."""
        count, sections = _sections(len(flags)), list(self._sections)
        if len(sections) != count:
            sections, changed = [_Section({})] * count, flags
        touched: dict[int, dict[str, Flag]] = {}
        for key in changed:
            number = _section(key, count)
            if number not in touched:
                touched[number] = dict(sections[number].flags)
            touched[number].pop(key, None)
            if key in flags:
                touched[number][key] = flags[key]
        for number, members in touched.items():
            sections[number] = _Section(members)
        return Bulk(sections)

    def evaluate(self, context: Mapping[str, Any], now: int) -> Iterator[BodyBlock | list[bytes]]:
        """Yield the outcomes of all flags in portions: cached blocks, or lists of bodies.

        After each list, which may be empty, the caller can yield to others. Never raises. The order
        of the flags is always the same, unless an attribute changes its type.
        """
        run = Run(context, now)
        budget = _Budget(run)
        choosing = ChoiceEvaluation(context, run)
        ungrouped: list[tuple[_Plan, list[Flag]]] = []
        for section in self._sections:
            plan = section.plan_at(now)
            always, groups, _, _ = plan
            yield from always
            flags: list[Flag] = []
            for group in groups:
                block = group.block(context)
                if block is None:
                    flags += group.flags
                else:
                    yield block
            ungrouped.append((plan, flags))
            if groups:
                yield []
        for plan, flags in ungrouped:
            if ruled := plan.ruled:
                budget.grant()
                bodies, alone = plan.choices.choose(choosing)
                budget.charge()
                if isinstance(bodies, BodyBlock):
                    yield bodies
                    bodies = []
                yield from _evaluate_alone(ruled, alone, bodies, budget)
                yield bodies
            if flags:
                bodies = [b""] * len(flags)
                yield from _evaluate_alone(flags, range(len(flags)), bodies, budget)
                yield bodies


class _Budget:
    """The steps of a bulk evaluation. Each part of it gets at most the steps of one flag."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.left = BULK_STEPS_MAX
        self._granted = 0

    def grant(self) -> None:
        self._granted = self.run.steps = max(0, min(STEPS_MAX, self.left))

    def charge(self) -> None:
        self.left -= self._granted - self.run.steps


def _sections(flags: int) -> int:
    """Return the number of sections, a power of two, so that it seldom changes."""
    return 1 << (flags // _SECTION_FLAGS).bit_length()


def _section(key: str, count: int) -> int:
    """Return a key's section. It is the same in every process, so answers have one order."""
    return crc32(key.encode(errors="surrogatepass")) % count


def _evaluate_alone(
    flags: Sequence[Flag], positions: Sequence[int], bodies: list[bytes], budget: _Budget
) -> Iterator[list[bytes]]:
    """Put the outcomes of the flags at some positions into the bodies.

    Yield empty portions, so that the caller can yield to others.
    """
    run = budget.run
    for start in range(0, len(positions), _BATCH_FLAGS):
        batch = positions[start : start + _BATCH_FLAGS]
        rules = [rule for at in batch if (rule := flags[at].rule) is not None]
        # First as one evaluation: all rules of a batch together rarely need the steps of one.
        budget.grant()
        together = _together(rules, run.context, run)
        budget.charge()
        if together is not None:
            for at, body in zip(batch, together, strict=True):
                bodies[at] = body
            yield []
            continue
        for at in batch:
            budget.grant()
            bodies[at] = flags[at].body(run.context, run)
            budget.charge()
            yield []


def _together(rules: Sequence[Closure], context: Mapping[str, Any], run: Run) -> list[bytes] | None:
    """Return the results of the rules, None if one fails: then the caller runs them one by one."""
    try:
        return [rule(context, run) for rule in rules]
    except Exception:  # noqa: BLE001 - it is raised again and handled for its flag
        return None
