"""References of flags and segments, and the check that each leads to a segment."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice, pairwise
from typing import Any

from app.configuration.changes.models import Change, Content, Kind
from app.configuration.changes.offload import run_by_size
from app.database import Connection, sql
from app.errors import Conflict, Invalid, Violation, as_sentence
from app.evaluation.lists import names_list
from app.evaluation.needs import needs_of
from app.evaluation.plans.compiling import without_plan
from app.evaluation.targeting import IN_LIST

_VIOLATIONS_MAX = 20

References = Mapping[str, set[str]]


def referenced_names(content: Content) -> Iterator[str]:
    """Yield the segments and lists that a flag's targeting or a segment names."""
    return names_in(rule_of(content))


def used_names(content: Content) -> Iterator[str]:
    """Yield the segments and flags that a flag or segment uses directly."""
    yield from referenced_names(content)
    if content.kind is Kind.FLAG:
        yield from (need.flag for need in needs_of(content.value))


def names_in(rule: Any) -> Iterator[str]:
    """Yield the names in every {"$ref": NAME} and {"in_list": [NAME, …]} of a rule."""
    waiting = [rule]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = node.get("$ref")
            if isinstance(name, str):
                yield name
            operands = node.get(IN_LIST)
            if isinstance(operands, list) and operands and isinstance(operands[0], str):
                yield operands[0]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += [part for part in node if type(part) in (dict, list)]


def rule_of(content: Content) -> Any:
    """Return the rule of a segment, or the targeting of a flag; None for anything else."""
    match content.kind:
        case Kind.SEGMENT if not names_list(content.value):
            return content.value
        case Kind.FLAG if isinstance(content.value, dict):
            return targeting_of(content.value)
        case _:
            return None


def targeting_of(definition: Mapping[str, Any]) -> Any:
    """Return the targeting of a flag, with that of its plan."""
    return without_plan(definition).get("targeting")


async def check_references(
    connection: Connection, environment: str, changes: Sequence[Change], *, lenient: bool
) -> list[Violation]:
    """Check the references that changes add, before they are written.

    Raises Invalid for references to an unknown segment or in a cycle, and Conflict when a removed
    segment is still used; both name the keys. A lenient caller gets the violations returned.
    References that existed before are not checked.
    """
    removed = await _check_removed(connection, environment, changes)
    put = {change.key: change.after for change in changes if change.after is not None}

    def find() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        after = {key: set(referenced_names(content)) for key, content in put.items()}
        before = {
            change.key: set(referenced_names(change.before.content)) - removed
            for change in changes
            if change.before.content is not None
        }
        return after, {key: names - before.get(key, set()) for key, names in after.items()}

    referring, added = await run_by_size(changes, "references", find)
    if not any(added.values()):
        return []
    segments = {key: referring[key] for key, content in put.items() if is_segment(content)}
    changed = {change.key for change in changes}
    if outside := set[str]().union(*referring.values()) - changed:
        stored = await read_segments(connection, environment, outside, changed)
        segments |= {key: set(names_in(segment)) for key, segment in stored.items()}
    return await run_by_size(
        changes, "references", lambda: check_added(added, segments, lenient=lenient)
    )


def check_added(
    added: References, segments: References, *, lenient: bool = False
) -> list[Violation]:
    """Check the references that changes add, as `check_references` does. Raises Invalid.

    `segments` has the references of each segment that `added` reaches.
    """
    affected = reachable(set[str]().union(*added.values()), segments)
    affected |= {key for key, names in added.items() if names and key in segments}
    within = {key: segments[key] for key in affected if key in segments}
    unresolved = list(islice(find_unresolved({**within, **added}, segments), _VIOLATIONS_MAX))
    if unresolved and not lenient:
        raise Invalid("reference_unknown", as_sentence(unresolved), unresolved)
    cycles = list(islice(find_cycles(within), _VIOLATIONS_MAX))
    if cycles and not lenient:
        path = " → ".join(cycles[0])
        raise Invalid(
            "reference_circular",
            f"Segments refer to each other in a cycle: {path}.",
            cycle_violations(cycles[0]),
        )
    return [
        *unresolved,
        *(violation for cycle in cycles for violation in cycle_violations(cycle)),
    ]


def reachable(names: set[str], segments: References) -> set[str]:
    """Return the names and all names that they refer to, directly or through others."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += segments.get(name, ())
    return reached


def is_segment(content: Content | None) -> bool:
    return content is not None and content.kind is Kind.SEGMENT


async def _check_removed(
    connection: Connection, environment: str, changes: Sequence[Change]
) -> set[str]:
    """Return the removed segments. Raises Conflict when an entry that stays refers to one."""
    removed = {
        change.key
        for change in changes
        if is_segment(change.before.content) and not is_segment(change.after)
    }
    if not removed:
        return removed
    rows = sql.list_references(
        connection,
        environment=environment,
        segments=sorted(removed),
        changed=[change.key for change in changes],
        page_size=_VIOLATIONS_MAX,
    )
    violations = [Violation(row["key"], f"refers to {row['segment']}") async for row in rows]
    if violations:
        raise segment_in_use(violations)
    return removed


def segment_in_use(violations: Sequence[Violation]) -> Conflict:
    message = f"The segment is still used: {as_sentence(violations)}"
    return Conflict("segment_in_use", message, violations)


async def read_segments(
    connection: Connection, environment: str, names: Iterable[str], changed: Iterable[str] = ()
) -> dict[str, Any]:
    """Return these segments and those that they refer to. Those in `changed` are not followed."""
    if not (names := sorted(names)):
        return {}
    rows = sql.list_reached_segments(
        connection, environment=environment, names=names, changed=sorted(changed)
    )
    return {row["key"]: row["value"] async for row in rows}


def find_unresolved(referring: References, segments: Container[str]) -> Iterator[Violation]:
    for key in sorted(referring):
        for name in sorted(referring[key]):
            if name not in segments:
                yield Violation(key, f"refers to {name}, which is no segment")


def find_cycles(segments: References) -> Iterator[list[str]]:
    """Yield each cycle as a path from a segment back to itself, and cut it before the next."""
    graph = dict(segments)
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            # The sorter lists the cycle against the direction of the references.
            cycle: list[str] = error.args[1][:0:-1]
            start = cycle.index(min(cycle))
            cycle = [*cycle[start:], *cycle[:start], cycle[start]]
            yield cycle[: _VIOLATIONS_MAX + 1]
            graph[cycle[0]] = graph[cycle[0]] - {cycle[1]}
        else:
            return


def cycle_violations(cycle: Sequence[str]) -> list[Violation]:
    return [Violation(key, f"refers to {name}, and so to itself") for key, name in pairwise(cycle)]
