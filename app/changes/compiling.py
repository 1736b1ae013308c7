"""Whether every flag still compiles after a change set, with all segments in their places.

A segment is a part of every flag that uses it, so an edit of one segment can exceed the limits of
flags that the change set does not name.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from app.changes.models import Change, Content, Kind
from app.changes.references import references, rule_of
from app.changes.turns import work_on
from app.database import Connection, sql
from app.database.threads import in_thread
from app.errors import Invalid, Violation
from app.evaluation.compilation import compile_error, uncompilable

_VIOLATIONS_MAX = 20

# Targetings and segments, by key.
Rules = Mapping[str, Any]


async def check_compiling(
    connection: Connection, environment: str, changes: Sequence[Change], *, exempt: Container[str]
) -> None:
    """Raise Invalid that names flags and segments that no longer compile after written changes.

    What did not compile before either is left alone, and so are the exempt keys.
    """
    after = _rules(changes, [change.after for change in changes])
    before = _rules(changes, [change.before.content for change in changes])
    moved = [change.key for change in changes if _is_segment_change(change)]
    users: dict[str, Any] = {}
    if moved:
        rows = sql.list_segment_users(
            connection,
            environment=environment,
            segments=moved,
            changed=[change.key for change in changes],
        )
        users = {row["key"]: row["targeting"] async for row in rows}
    checked = {key: rule for key, rule in after.items() if key not in exempt} | users
    if not checked:
        return
    names = await work_on(
        changes, "references", lambda: _names([*checked.values(), *before.values()])
    )
    segments = await _segments(connection, environment, names)
    changed = {change.key for change in changes}
    segments_before = {key: each for key, each in segments.items() if key not in changed} | {
        change.key: change.before.content.value
        for change in changes
        if change.before.content is not None and change.before.content.kind is Kind.SEGMENT
    }
    found: Iterator[Violation] = _newly_uncompilable(
        checked, segments, {**before, **users}, segments_before
    )
    violations = await in_thread("compile", lambda: list(islice(found, _VIOLATIONS_MAX)))
    if violations:
        what = "; ".join(f"{each.field} {each.rule}" for each in violations)
        raise Invalid("flag_not_compiling", f"{what}.", violations)


def _newly_uncompilable(
    checked: Rules, segments: Rules, before: Rules, segments_before: Rules
) -> Iterator[Violation]:
    for violation in uncompilable(checked, segments):
        key = violation.field
        if key not in before or compile_error(key, before[key], segments_before) is None:
            yield violation


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


def _names(rules: Sequence[Any]) -> set[str]:
    contents = (Content(kind=Kind.SEGMENT, value=rule) for rule in rules)
    return {name for content in contents for name in references(content)}


async def _segments(connection: Connection, environment: str, names: set[str]) -> dict[str, Any]:
    """Return every segment of these names, and those that they use."""
    if not names:
        return {}
    rows = sql.list_reached_segments(
        connection, environment=environment, names=sorted(names), changed=[]
    )
    return {row["key"]: row["value"] async for row in rows}
