"""Whether every flag still compiles after a change set, with all segments in their places.

A segment is a part of every flag that uses it, so an edit of one segment can exceed the limits of
flags that the change set does not name.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any

from app.configuration.changes.models import Change, Content, Kind
from app.configuration.changes.offload import StoredValues, run_by_size
from app.configuration.changes.references import referenced_names, rule_of
from app.database import Connection, sql
from app.errors import Invalid, Violation
from app.evaluation.compilation import compile_violation

_VIOLATIONS_MAX = 20

# Targetings and segments, by key.
Rules = Mapping[str, Any]


async def check_compiling(
    connection: Connection, environment: str, changes: Sequence[Change], *, exempt: Container[str]
) -> None:
    """Raise Invalid that names flags and segments that no longer compile after written changes.

    What did not compile before either is left alone, and so are the exempt keys.
    """

    def find() -> tuple[Rules, Rules, list[str]]:
        before = _rules(changes, [change.before.content for change in changes])
        after = _rules(changes, [change.after for change in changes])
        after = {key: rule for key, rule in after.items() if key not in exempt}
        return before, after, [change.key for change in changes if _is_segment_change(change)]

    before, after, moved = await run_by_size(changes, "compile", find)
    users = await _users(connection, environment, changes, moved)
    if not after and not users:
        return

    def names() -> list[str]:
        rules = chain(before.values(), checked.values())
        contents = (Content(kind=Kind.SEGMENT, value=rule) for rule in rules)
        return sorted({name for content in contents for name in referenced_names(content)})

    with closing(StoredValues(users, after)) as checked:
        # Names of segments are few in a small change, unless it changes segments of many flags.
        work = checked.work if users else partial(run_by_size, changes)
        segments = await _segments(connection, environment, await work("compile", names))
        earlier = _segments_before(segments, changes)
        found = _newly_uncompilable(checked.items(), segments, before, earlier, users)
        violations = await checked.work("compile", lambda: list(islice(found, _VIOLATIONS_MAX)))
    if violations:
        what = "; ".join(f"{each.field} {each.rule}" for each in violations)
        raise Invalid("flag_not_compiling", f"{what}.", violations)


def _newly_uncompilable(
    checked: Iterable[tuple[str, Any]],
    segments: Rules,
    before: Rules,
    segments_before: Rules,
    users: Container[str],
) -> Iterator[Violation]:
    for key, rule in checked:
        violation = compile_violation(key, rule, segments)
        if violation is None:
            continue
        earlier = rule if key in users else before.get(key)
        if earlier is None or compile_violation(key, earlier, segments_before) is None:
            yield violation


async def _users(
    connection: Connection, environment: str, changes: Sequence[Change], moved: list[str]
) -> dict[str, str]:
    """Return the rules of the other flags that use a moved segment, as JSON."""
    if not moved:
        return {}
    rows = sql.list_segment_users(
        connection,
        environment=environment,
        segments=moved,
        changed=[change.key for change in changes],
    )
    return {row["key"]: row["targeting"] async for row in rows}


def _rules(changes: Sequence[Change], contents: Sequence[Content | None]) -> dict[str, Any]:
    """Return the rules among contents, by key."""
    rules = {}
    for change, content in zip(changes, contents, strict=True):
        rule = rule_of(content) if content is not None else None
        if rule:
            rules[change.key] = rule
    return rules


def _is_segment_change(change: Change) -> bool:
    return any(
        content is not None and content.kind is Kind.SEGMENT
        for content in (change.before.content, change.after)
    )


async def _segments(connection: Connection, environment: str, names: list[str]) -> dict[str, Any]:
    """Return the segments of these names, and every segment that they use."""
    if not names:
        return {}
    rows = sql.list_reached_segments(connection, environment=environment, names=names, changed=[])
    return {row["key"]: row["value"] async for row in rows}


def _segments_before(segments: Rules, changes: Sequence[Change]) -> Rules:
    """Return the segments as they were before the changes."""
    changed = {change.key for change in changes}
    return {key: rule for key, rule in segments.items() if key not in changed} | {
        change.key: content.value
        for change in changes
        if (content := change.before.content) is not None and content.kind is Kind.SEGMENT
    }
