"""What flags and segments refer to, and that all of it is there once a change set is made."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from app.changes.models import Change, Content, Kind
from app.database import Connection, sql
from app.errors import Conflict, Invalid, Violation

_VIOLATIONS_MAX = 20

References = Mapping[str, set[str]]


def references(content: Content) -> Iterator[str]:
    """Yield the names in every {"$ref": NAME} of a flag's targeting or of a segment."""
    waiting = [_rule(content)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = node.get("$ref")
            if isinstance(name, str):
                yield name
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _rule(content: Content) -> object:
    match content.kind:
        case Kind.SEGMENT:
            return content.value
        case Kind.FLAG if isinstance(content.value, dict):
            return content.value.get("targeting")
        case _:
            return None


async def check_references(
    connection: Connection, environment: str, changes: Sequence[Change]
) -> None:
    """Refuse changes, not yet written, after which a reference would lead nowhere or in a circle.

    Raises Invalid that names each key which refers to what is no segment, or the keys of a circle;
    Conflict that names each key which stays and refers to a segment that goes.
    """
    await _check_removed(connection, environment, changes)
    put = {change.key: change.after for change in changes if change.after is not None}
    referring = {key: set(references(content)) for key, content in put.items()}
    if not any(referring.values()):
        return
    segments = {key: referring[key] for key, content in put.items() if _is_segment(content)}
    changed = {change.key for change in changes}
    if outside := set[str]().union(*referring.values()) - changed:
        segments |= await _reached(connection, environment, outside, changed)
    _check_resolved({**referring, **segments}, segments)
    _check_circles(segments)


def _is_segment(content: Content | None) -> bool:
    return content is not None and content.kind is Kind.SEGMENT


async def _check_removed(
    connection: Connection, environment: str, changes: Sequence[Change]
) -> None:
    removed = [
        change.key
        for change in changes
        if _is_segment(change.before.content) and not _is_segment(change.after)
    ]
    if not removed:
        return
    rows = sql.list_references(
        connection,
        environment=environment,
        segments=removed,
        changed=[change.key for change in changes],
        page_size=_VIOLATIONS_MAX,
    )
    violations = [Violation(row["key"], f"refers to {row['segment']}") async for row in rows]
    if violations:
        users = ", ".join(f"{each.field} {each.rule}" for each in violations)
        raise Conflict("segment_in_use", f"A segment that is used must stay: {users}.", violations)


async def _reached(
    connection: Connection, environment: str, names: set[str], changed: set[str]
) -> dict[str, set[str]]:
    """Return the segments of these names that stay as they are, and those that they lead to."""
    rows = sql.list_reached_segments(
        connection, environment=environment, names=sorted(names), changed=sorted(changed)
    )
    return {
        row["key"]: set(references(Content(kind=Kind.SEGMENT, value=row["value"])))
        async for row in rows
    }


def _check_resolved(referring: References, segments: References) -> None:
    violations = [
        Violation(key, f"refers to {name}, which is no segment")
        for key in sorted(referring)
        for name in sorted(referring[key] - segments.keys())
    ][:_VIOLATIONS_MAX]
    if violations:
        what = "; ".join(f"{each.field} {each.rule}" for each in violations)
        raise Invalid("reference_unknown", f"{what}.", violations)


def _check_circles(segments: References) -> None:
    try:
        TopologicalSorter(segments).prepare()
    except CycleError as error:
        # The sorter tells a circle from what is referred to towards what refers.
        circle: list[str] = error.args[1][::-1]
        violations = [
            Violation(key, f"refers to {name}, and so to itself")
            for key, name in pairwise(circle[: _VIOLATIONS_MAX + 1])
        ]
        path = " → ".join(circle[: _VIOLATIONS_MAX + 1])
        raise Invalid(
            "reference_circular", f"Segments refer in a circle: {path}.", violations
        ) from None
