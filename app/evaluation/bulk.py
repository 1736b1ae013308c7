"""All flags for one context: the same outcomes as one by one, at a fraction of the cost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from zlib import crc32

from app.evaluation.engine import Flag
from app.evaluation.groups import Group, Part
from app.evaluation.nodes import Closure
from app.evaluation.run import STEPS_MAX, Run

# As many are evaluated without a look at the clock.
_BATCH_FLAGS = 64
# What all flags together may take, or one request could ask for ten thousand costly ones.
BULK_STEPS_MAX = 50 * STEPS_MAX
# Fewer are evaluated as soon as it is found what they gave before.
_GROUP_FLAGS = 4
# About as many are sorted anew when one of them has changed.
_SECTION_FLAGS = 256


class _Batch(NamedTuple):
    flags: Sequence[Flag]
    rules: Sequence[Closure]


class _Plan(NamedTuple):
    """Flags by what it takes to evaluate them: nothing, a look at one attribute, or their rules.

    A group has its batches beside it, for a context whose attribute is of another type.
    """

    always: Sequence[Part]
    groups: Sequence[tuple[Group, Sequence[_Batch]]]
    ruled: Sequence[_Batch]


class _Section:
    """Some of the flags; the plan for them is made when somebody asks for it."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self.flags = flags

    @cached_property
    def plan(self) -> _Plan:
        fixed: list[Flag] = []
        ruled: list[Flag] = []
        asking: defaultdict[str, list[Flag]] = defaultdict(list)
        for _, flag in sorted(self.flags.items()):
            if flag.rule is None:
                fixed.append(flag)
            elif flag.asks is None:
                ruled.append(flag)
            else:
                asking[flag.asks.attribute].append(flag)
        groups = []
        for attribute, flags in asking.items():
            if len(flags) < _GROUP_FLAGS:
                ruled += flags
            else:
                groups.append((Group(attribute, flags), _batches(flags)))
        always = [Part([flag.fixed for flag in fixed])] if fixed else []
        return _Plan(always, groups, _batches(ruled))


class Bulk:
    """The flags of a ruleset, in sections, of which a change touches one and leaves the others."""

    def __init__(self, sections: Sequence[_Section] = ()) -> None:
        self._sections = sections

    def advanced(self, flags: Mapping[str, Flag], changed: Iterable[str]) -> "Bulk":
        """Return the flags as they are now, given the keys of those that changed, came or went."""
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

    def evaluate(self, context: Mapping[str, Any], now: int) -> Iterator[Part | list[bytes]]:
        """Yield every flag's outcome, some at a time, so that the caller can give others a turn:
        parts, which are the same object each time, and bodies. Never raises.
        """
        batches: list[_Batch] = []
        for section in self._sections:
            always, groups, ruled = section.plan
            yield from always
            batches += ruled
            for group, of_group in groups:
                part = group.part(context)
                if part is None:
                    batches += of_group
                else:
                    yield part
        yield from _evaluated(batches, context, now)


def _sections(flags: int) -> int:
    """Return how many sections these flags take: a power of two, so that it seldom changes."""
    return 1 << (flags // _SECTION_FLAGS).bit_length()


def _section(key: str, count: int) -> int:
    """Return a key's section: the same in every process, as is the order of an answer."""
    return crc32(key.encode(errors="surrogatepass")) % count


def _batches(flags: Sequence[Flag]) -> list[_Batch]:
    some = [flags[start : start + _BATCH_FLAGS] for start in range(0, len(flags), _BATCH_FLAGS)]
    return [_Batch(each, [flag.rule for flag in each if flag.rule is not None]) for each in some]


def _evaluated(
    batches: Iterable[_Batch], context: Mapping[str, Any], now: int
) -> Iterator[list[bytes]]:
    run = Run(context, now)
    left = BULK_STEPS_MAX
    for flags, rules in batches:
        granted = run.steps = max(0, min(STEPS_MAX, left))
        # As if they were one evaluation: together they hardly ever take more than one may.
        bodies = _together(rules, context, run)
        left -= granted - run.steps
        if bodies is not None:
            yield bodies
            continue
        for flag in flags:
            granted = run.steps = max(0, min(STEPS_MAX, left))
            body = flag.body(context, run)
            left -= granted - run.steps
            yield [body]


def _together(rules: Sequence[Closure], context: Mapping[str, Any], run: Run) -> list[bytes] | None:
    """Return what the rules give; None if one fails, as whose fault it is shows one by one."""
    try:
        return [rule(context, run) for rule in rules]
    except Exception:  # noqa: BLE001 - it comes again, and is answered then
        return None
