"""The flags that flags need, and the checks that each exists with the variant that is needed.

A flag needs others by its prerequisites, and by the operator `flag` in its targeting.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any, NamedTuple

from app.configuration.changes.models import Change, Content, Kind
from app.configuration.changes.offload import run_by_size
from app.configuration.changes.references import cycle_violations, find_cycles, reachable
from app.database import Connection, sql
from app.errors import Conflict, Invalid, Violation, as_sentence
from app.evaluation.compiler import FLAG_LEVELS_MAX
from app.evaluation.needs import Need, needs_of

_VIOLATIONS_MAX = 20


class FlagFacts(NamedTuple):
    """What the checks read of a flag: the names of its variants, and its needs."""

    variants: frozenset[str]
    needs: frozenset[Need]


Flags = Mapping[str, FlagFacts]
# The variants that each flag no longer has; None says that the flag no longer exists.
Lost = Mapping[str, frozenset[str | None]]


def facts_of(value: Any) -> FlagFacts:
    """Return the facts of a flag's definition. A lenient import may have stored any JSON."""
    variants = value.get("variants") if isinstance(value, dict) else None
    names = frozenset(variants) if isinstance(variants, dict) else frozenset[str]()
    return FlagFacts(names, frozenset(needs_of(value)))


def flags_of(contents: Mapping[str, Content | None]) -> dict[str, FlagFacts]:
    """Return the facts of those contents that are flags."""
    return {
        key: facts_of(content.value)
        for key, content in contents.items()
        if content is not None and content.kind is Kind.FLAG
    }


async def check_prerequisites(
    connection: Connection, environment: str, changes: Sequence[Change], *, lenient: bool
) -> list[Violation]:
    """Check the needs of flags that changes add or break, before they are written.

    Raises Invalid for needs of an unknown flag or variant, in a circle, or in a chain that is too
    long. Raises Conflict when a flag that stays needs a removed flag or variant. A lenient caller
    gets the violations of added needs returned. Needs that existed before are not checked.
    """

    def find() -> tuple[Flags, Flags]:
        before = flags_of({change.key: change.before.content for change in changes})
        return before, flags_of({change.key: change.after for change in changes})

    before, after = await run_by_size(changes, "prerequisites", find)
    lost = lost_variants(before, after)
    keys = [change.key for change in changes]
    if lost:
        users = await read_flag_users(connection, environment, lost, keys)
        check_still_needed(lost, users)
    added = added_needs(before, after, lost)
    if not added:
        return []
    names = sorted({need.flag for needs in added.values() for need in needs}.difference(keys))
    needed = await read_needed_flags(connection, environment, names, keys)
    users = await read_flag_users(connection, environment, after, keys)
    return await run_by_size(
        changes,
        "prerequisites",
        lambda: check_added_needs(added, {**users, **_facts(needed), **after}, lenient=lenient),
    )


def lost_variants(before: Flags, after: Flags) -> Lost:
    """Return the variants that flags no longer have. A renamed variant is lost too."""
    lost: dict[str, frozenset[str | None]] = {}
    for key, flag in before.items():
        if key not in after:
            lost[key] = frozenset({*flag.variants, None})
        elif names := flag.variants - after[key].variants:
            lost[key] = frozenset(names)
    return lost


def added_needs(before: Flags, after: Flags, lost: Lost) -> dict[str, set[Need]]:
    """Return the needs that are new, or whose flag or variant is lost, by flag."""
    added = {}
    for key, flag in after.items():
        earlier = before[key].needs if key in before else frozenset[Need]()
        needs = {need for need in flag.needs if need not in earlier or _is_lost(need, lost)}
        if needs:
            added[key] = needs
    return added


def _is_lost(need: Need, lost: Lost) -> bool:
    names = lost.get(need.flag, frozenset())
    return None in names or need.variant in names


def check_still_needed(lost: Lost, users: Flags) -> None:
    """Raise Conflict when a flag that the changes do not touch needs what is lost."""
    violations = [
        Violation(key, f"needs {described(need)}")
        for key in sorted(users)
        for need in _sorted(users[key].needs)
        if _is_lost(need, lost)
    ]
    if violations:
        shown = violations[:_VIOLATIONS_MAX]
        message = f"Other flags need what the change removes: {as_sentence(shown)}"
        raise Conflict("flag_needed", message, shown)


def described(need: Need) -> str:
    return need.flag if need.variant is None else f"the variant {need.variant} of {need.flag}"


def check_added_needs(
    added: Mapping[str, Iterable[Need]], flags: Flags, *, lenient: bool = False
) -> list[Violation]:
    """Check new needs, as `check_prerequisites` does. Raises Invalid.

    `flags` has the flags that need others or are needed, directly or through others.
    """
    unresolved = list(islice(find_unresolved_needs(added, flags), _VIOLATIONS_MAX))
    if unresolved and not lenient:
        raise Invalid("prerequisite_unknown", as_sentence(unresolved), unresolved)
    graph = graph_of(flags)
    within = reachable(set(added), graph)
    cycles = list(
        islice(find_cycles({key: graph.get(key, set()) for key in within}), _VIOLATIONS_MAX)
    )
    if cycles and not lenient:
        path = " → ".join(cycles[0])
        message = f"Flags need each other in a circle: {path}."
        raise Invalid("prerequisite_circular", message, _cycle_violations(cycles[0]))
    long = [] if cycles else list(islice(find_long_chains(added, graph), _VIOLATIONS_MAX))
    if long and not lenient:
        raise Invalid("prerequisite_deep", as_sentence(long), long)
    return [*unresolved, *(item for cycle in cycles for item in _cycle_violations(cycle)), *long]


def find_unresolved_needs(needs: Mapping[str, Iterable[Need]], flags: Flags) -> Iterator[Violation]:
    for key in sorted(needs):
        for need in _sorted(needs[key]):
            if need.flag not in flags:
                yield Violation(key, f"needs {need.flag}, which is no flag")
            elif need.variant is not None and need.variant not in flags[need.flag].variants:
                rule = f"needs the variant {need.variant}, which {need.flag} does not have"
                yield Violation(key, rule)


def _cycle_violations(cycle: Sequence[str]) -> list[Violation]:
    return [
        Violation(violation.field, violation.rule.replace("refers to", "needs", 1))
        for violation in cycle_violations(cycle)
    ]


def graph_of(flags: Flags) -> dict[str, set[str]]:
    """Return the flags that each flag needs. Missing flags are left out."""
    return {
        key: {need.flag for need in flag.needs if need.flag in flags} for key, flag in flags.items()
    }


def find_long_chains(keys: Iterable[str], graph: Mapping[str, set[str]]) -> Iterator[Violation]:
    """Yield the flags in a chain of more flags than the engine evaluates."""
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError:
        # A lenient import stored the circle, which does not reach the keys.
        return
    below, above = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    for key in order:
        below[key] = max((below[name] + 1 for name in graph[key]), default=0)
    for key in reversed(order):
        for name in graph[key]:
            above[name] = max(above[name], above[key] + 1)
    for key in sorted(keys):
        if below[key] + above[key] > FLAG_LEVELS_MAX:
            rule = f"is in a chain of more than {FLAG_LEVELS_MAX} flags that need each other"
            yield Violation(key, rule)


def _sorted(needs: Iterable[Need]) -> list[Need]:
    return sorted(needs, key=lambda need: (need.flag, need.variant or ""))


def _facts(definitions: Mapping[str, Any]) -> dict[str, FlagFacts]:
    return {key: facts_of(definition) for key, definition in definitions.items()}


async def read_needed_flags(
    connection: Connection, environment: str, flags: Sequence[str], changed: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the definitions of these flags, and of those that they need, directly or not.

    Those in `changed` are left out.
    """
    if not flags:
        return {}
    rows = sql.list_needed_flags(connection, environment=environment, flags=flags, changed=changed)
    return {row["key"]: row["value"] async for row in rows}


async def read_flag_users(
    connection: Connection, environment: str, flags: Iterable[str], changed: Sequence[str] = ()
) -> Flags:
    """Return the flags that need these flags, directly or not, except those in `changed`."""
    rows = sql.list_flag_users(
        connection, environment=environment, flags=sorted(flags), changed=changed
    )
    return {row["key"]: facts_of(row["value"]) async for row in rows}
