"""Check the flags of an environment after a change set, in its transaction.

Every flag must still compile. A segment is compiled into every flag that uses it, so an edit of one
segment can exceed the limits of flags that the change set does not name.

Every guard must still hold: an example context in a flag's definition, with the variant that it
must get. So an edit, a segment, a revert or a promotion that breaks a guard is refused.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from app.configuration.changes.models import Change, ChangeSet, Content, Kind
from app.configuration.changes.offload import StoredValues, run_by_count, run_by_size
from app.configuration.changes.prerequisites import read_needed_flags
from app.configuration.changes.references import (
    is_segment,
    names_in,
    read_segments,
    rule_of,
    targeting_of,
)
from app.configuration.list_data.loading import load_lists
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Invalid, Violation, as_sentence
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.needs import needs_of
from app.evaluation.parts import all_parts
from app.evaluation.run import STEPS_MAX, Run
from app.evaluation.validation import compile_violation

_VIOLATIONS_MAX = 20
# The limit for all guard cases of a change set, about a second. Other writers wait meanwhile.
GUARD_STEPS_MAX = 250 * STEPS_MAX
# The cost of a guard case besides its rule.
_CASE_STEPS = 20

# Targetings and segments, by key.
Rules = Mapping[str, Any]


def is_checked_when_stored(change_set: ChangeSet) -> bool:
    """Return whether a check reads what the change set stores: segments, guards and bucketing."""
    properties = change_set.properties
    return (
        properties is not None and properties.before.fractional != properties.after.fractional
    ) or any(
        is_segment(change.before.content)
        or is_segment(change.after)
        or (change.after is not None and has_guards(change.after))
        for change in change_set.changes
    )


async def check_compiling(
    connection: Connection, change_set: ChangeSet, *, exempt: Container[str]
) -> None:
    """Raise Invalid for flags and segments that no longer compile after a change set.

    A change set with segments must be written before. Ignores the exempt keys, and those that did
    not compile before.
    """
    environment, changes = change_set.environment, change_set.changes

    def find() -> tuple[Rules, Rules, Rules, list[str]]:
        before = _rules(changes, [change.before.content for change in changes])
        after = _rules(changes, [change.after for change in changes])
        after = {key: rule for key, rule in after.items() if key not in exempt}
        put = {
            change.key: change.after.value
            for change in changes
            if change.after is not None and change.after.kind is Kind.SEGMENT
        }
        segments = [
            change.key
            for change in changes
            if change.key in put or is_segment(change.before.content)
        ]
        return before, after, put, segments

    before, after, put_segments, changed_segments = await run_by_count(changes, "compile", find)
    keys = [change.key for change in changes]
    users = await _users(connection, environment, keys, changed_segments)
    if not after and not users:
        return

    def names() -> list[str]:
        rules = chain(before.values(), checked.values(), put_segments.values())
        return sorted({name for rule in rules for name in names_in(rule)}.difference(keys))

    with closing(StoredValues(users, after, targeting_of)) as checked:
        # A small change names few segments, unless other flags use the segments that it changes.
        run = checked.run if users else partial(run_by_size, changes)
        unchanged = await run("compile", names)
        stored = await read_segments(connection, environment, unchanged, changed=keys)
        segments = {**stored, **put_segments}
        earlier = _segments_before(segments, changes)
        uncompilable = newly_uncompilable(checked.items(), segments, before, earlier, users)
        violations = await checked.run(
            "compile", lambda: list(islice(uncompilable, _VIOLATIONS_MAX))
        )
    if violations:
        raise Invalid("flag_not_compiling", as_sentence(violations), violations)


def newly_uncompilable(
    checked: Iterable[tuple[str, Any]],
    segments: Rules,
    before: Rules,
    segments_before: Rules,
    users: Container[str],
) -> Iterator[Violation]:
    """Yield the rules that no longer compile. The rules of users have not changed themselves."""
    # They hold the parts in memory until all rules are compiled.
    parts, parts_before = all_parts(), all_parts()
    for key, rule in checked:
        violation = compile_violation(key, rule, segments, parts)
        if violation is None:
            continue
        earlier = rule if key in users else before.get(key)
        if (
            earlier is None
            or compile_violation(key, earlier, segments_before, parts_before) is None
        ):
            yield violation


async def _users(
    connection: Connection, environment: str, keys: Sequence[str], changed_segments: Sequence[str]
) -> dict[str, str]:
    """Return the unchanged flags that use a changed segment, as JSON."""
    if not changed_segments:
        return {}
    rows = sql.list_segment_users(
        connection,
        environment=environment,
        segments=changed_segments,
        changed=keys,
    )
    return {row["key"]: row["definition"] async for row in rows}


def _rules(changes: Sequence[Change], contents: Sequence[Content | None]) -> dict[str, Any]:
    rules = {}
    for change, content in zip(changes, contents, strict=True):
        rule = rule_of(content) if content is not None else None
        if rule:
            rules[change.key] = rule
    return rules


def _segments_before(segments: Rules, changes: Sequence[Change]) -> Rules:
    before = dict(segments)
    for change in changes:
        before.pop(change.key, None)
        content = change.before.content
        if content is not None and content.kind is Kind.SEGMENT:
            before[change.key] = content.value
    return before


async def check_guards(connection: Connection, change_set: ChangeSet) -> None:
    """Raise Invalid for guard cases that a written change set breaks, or that take too long."""
    changes, properties = change_set.changes, change_set.properties

    def find() -> tuple[list[str], bool]:
        put = [(change.key, change.after) for change in changes if change.after is not None]
        keys = [key for key, content in put if has_guards(content)]
        return keys, any(content.kind is Kind.SEGMENT for _, content in put)

    keys, has_segments = await run_by_count(changes, "guards", find)
    may_affect_all = has_segments or (
        properties is not None and properties.before.fractional != properties.after.fractional
    )
    if not keys and not may_affect_all:
        return
    rows = sql.list_guarded_flags(
        connection,
        environment=change_set.environment,
        keys=keys,
        all_of_them=may_affect_all,
    )
    texts = {row["key"]: row["value"] async for row in rows}
    if not texts:
        return
    now = int(change_set.created_at.timestamp())
    with closing(StoredValues(texts)) as flags:
        violations = await _violations(connection, change_set.environment, flags, now)
    if violations:
        raise Invalid("guard_broken", as_sentence(violations), violations)


def has_guards(content: Content) -> bool:
    is_flag = content.kind is Kind.FLAG and isinstance(content.value, dict)
    return is_flag and bool(content.value.get("guards"))


async def _violations(
    connection: Connection, environment: str, flags: StoredValues, now: int
) -> list[Violation]:
    def names() -> tuple[list[str], list[str]]:
        rules = map(targeting_of, flags.values())
        needs = (need.flag for flag in flags.values() for need in needs_of(flag))
        return sorted({name for rule in rules for name in names_in(rule)}), sorted({*needs})

    used, needs = await flags.run("guards", names)
    needed = await read_needed_flags(connection, environment, needs)
    used += [name for flag in needed.values() for name in names_in(flag)]
    segments = await read_segments(connection, environment, set(used))
    # Rules find the lists as long as this holds them.
    lists = await load_lists(connection, segments.values())
    properties = (await environments.get(connection, environment)).properties
    flag_set = FlagSet(segments, properties.fractional, properties.metadata)
    compiler = FlagCompiler(flag_set, needed.get)
    broken = broken_guards(flags.items(), compiler.flag_set, now)
    violations = await flags.run("guards", lambda: list(islice(broken, _VIOLATIONS_MAX)))
    del lists
    return violations


def broken_guards(
    flags: Iterable[tuple[str, Any]], flag_set: FlagSet, now: int
) -> Iterator[Violation]:
    """Yield the broken guard cases. Raises as `guard_results`."""
    for result in guard_results(flags, flag_set, now):
        if not result.holds:
            yield result.violation


class GuardResult(NamedTuple):
    """A guard case, and the variant or the error code that its context gets."""

    key: str
    position: int
    name: str
    variant: str | None
    actual: str | None

    @property
    def holds(self) -> bool:
        return self.variant == self.actual

    @property
    def violation(self) -> Violation:
        name = f" ({self.name})" if self.name else ""
        actual, expected = self.actual or "no variant", self.variant or "no variant"
        rule = f"gets {actual} and must get {expected}{name}"
        return Violation(f"{self.key}.guards[{self.position}]", rule)


def guard_results(
    flags: Iterable[tuple[str, Any]], flag_set: FlagSet, now: int
) -> Iterator[GuardResult]:
    """Evaluate guard cases. Raises Invalid when they take too many steps together."""
    steps_left = GUARD_STEPS_MAX
    for key, value in flags:
        flag = Flag(key, value, flag_set)
        for position, guard in enumerate(_well_formed(value["guards"])):
            run = Run(guard["context"], now)
            outcome = flag.evaluate_run(run).outcome
            steps_left -= _CASE_STEPS + STEPS_MAX - max(0, run.steps)
            if steps_left < 0:
                rule = "take too long together with those before them"
                violations = [Violation(f"{key}.guards", rule)]
                raise Invalid("guards_costly", as_sentence(violations), violations)
            actual = outcome.error_code or outcome.variant or None
            yield GuardResult(key, position, guard.get("name") or "", guard["variant"], actual)


def _well_formed(guards: Any) -> list[dict[str, Any]]:
    """Return the guards, or none when they are malformed, as a lenient import allows."""
    is_list = isinstance(guards, list) and all(
        isinstance(guard, dict) and isinstance(guard.get("context"), dict) and "variant" in guard
        for guard in guards
    )
    return guards if is_list else []
