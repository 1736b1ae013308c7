"""What flags and segments refer to, and that all of it is there once a change set is made."""

from collections.abc import Container, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice, pairwise
from typing import Any

from app.configuration.changes.models import Change, Content, Kind
from app.configuration.changes.offload import run_by_size
from app.database import Connection, sql
from app.errors import Conflict, Invalid, Violation

_VIOLATIONS_MAX = 20

References = Mapping[str, set[str]]


def referenced_names(content: Content) -> Iterator[str]:
    """Yield the names in every {"$ref": NAME} of a flag's targeting or of a segment."""
    waiting = [rule_of(content)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = node.get("$ref")
            if isinstance(name, str):
                yield name
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def rule_of(content: Content) -> Any:
    """Return a segment, or the targeting of a flag; None for anything else."""
    match content.kind:
        case Kind.SEGMENT:
            return content.value
        case Kind.FLAG if isinstance(content.value, dict):
            return content.value.get("targeting")
        case _:
            return None


async def check_references(
    connection: Connection, environment: str, changes: Sequence[Change], *, lenient: bool
) -> list[Violation]:
    """Refuse changes, not yet written, that add a reference to no segment or in a circle.

    Return such references for a lenient caller. References that were there before are left alone.
    Raises Invalid that names each key which refers to what is no segment, or the keys of a circle;
    Conflict that names each key which stays and refers to a segment that goes.
    """
    removed = await _check_removed(connection, environment, changes)
    put = {change.key: change.after for change in changes if change.after is not None}

    def find() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        found = {key: set(referenced_names(content)) for key, content in put.items()}
        before = {
            change.key: set(referenced_names(change.before.content)) - removed
            for change in changes
            if change.before.content is not None
        }
        return found, {key: names - before.get(key, set()) for key, names in found.items()}

    referring, added = await run_by_size(changes, "references", find)
    if not any(added.values()):
        return []
    segments = {key: referring[key] for key, content in put.items() if _is_segment(content)}
    changed = {change.key for change in changes}
    if outside := set[str]().union(*referring.values()) - changed:
        segments |= await _reached(connection, environment, outside, changed)
    return await run_by_size(
        changes, "references", lambda: _check(added, segments, lenient=lenient)
    )


def _check(added: References, segments: References, *, lenient: bool) -> list[Violation]:
    """Check the references that are added, and the segments that they lead to."""
    affected = reachable(set[str]().union(*added.values()), segments)
    affected |= {key for key, names in added.items() if names and key in segments}
    within = {key: segments[key] for key in affected if key in segments}
    unresolved = list(islice(find_unresolved({**within, **added}, segments), _VIOLATIONS_MAX))
    if unresolved and not lenient:
        what = "; ".join(f"{each.field} {each.rule}" for each in unresolved)
        raise Invalid("reference_unknown", f"{what}.", unresolved)
    circles = list(islice(find_cycles(within), _VIOLATIONS_MAX))
    if circles and not lenient:
        path = " → ".join(circles[0])
        raise Invalid(
            "reference_circular",
            f"Segments refer in a circle: {path}.",
            cycle_violations(circles[0]),
        )
    return [
        *unresolved,
        *(violation for circle in circles for violation in cycle_violations(circle)),
    ]


def reachable(names: set[str], segments: References) -> set[str]:
    """Return the names and those that they lead to, at any distance."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += segments.get(name, ())
    return found


def _is_segment(content: Content | None) -> bool:
    return content is not None and content.kind is Kind.SEGMENT


async def _check_removed(
    connection: Connection, environment: str, changes: Sequence[Change]
) -> set[str]:
    """Return the segments that go. Raises Conflict when what stays refers to one."""
    removed = {
        change.key
        for change in changes
        if _is_segment(change.before.content) and not _is_segment(change.after)
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
        users = ", ".join(f"{each.field} {each.rule}" for each in violations)
        raise Conflict("segment_in_use", f"A segment that is used must stay: {users}.", violations)
    return removed


async def _reached(
    connection: Connection, environment: str, names: set[str], changed: set[str]
) -> dict[str, set[str]]:
    """Return the segments of these names that stay as they are, and those that they lead to."""
    rows = sql.list_reached_segments(
        connection, environment=environment, names=sorted(names), changed=sorted(changed)
    )
    return {
        row["key"]: set(referenced_names(Content(kind=Kind.SEGMENT, value=row["value"])))
        async for row in rows
    }


def find_unresolved(referring: References, segments: Container[str]) -> Iterator[Violation]:
    """Yield each reference that leads to no segment."""
    for key in sorted(referring):
        for name in sorted(referring[key]):
            if name not in segments:
                yield Violation(key, f"refers to {name}, which is no segment")


def find_cycles(segments: References) -> Iterator[list[str]]:
    """Yield circles, each from a segment along its references back to it, until all are cut."""
    graph = dict(segments)
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            # The sorter names what is referred to before what refers, from anywhere in the circle.
            circle: list[str] = error.args[1][:0:-1]
            start = circle.index(min(circle))
            circle = [*circle[start:], *circle[:start], circle[start]]
            yield circle[: _VIOLATIONS_MAX + 1]
            graph[circle[0]] = graph[circle[0]] - {circle[1]}
        else:
            return


def cycle_violations(circle: Sequence[str]) -> list[Violation]:
    """Return a violation for each reference of a circle."""
    return [Violation(key, f"refers to {name}, and so to itself") for key, name in pairwise(circle)]
