"""Check that every flag still compiles after a change set.

A segment is compiled into every flag that uses it. So an edit of one segment can exceed the limits
of flags that the change set does not name.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any

from app.configuration.changes.models import Change, ChangeSet, Content, Kind
from app.configuration.changes.offload import StoredValues, run_by_size
from app.configuration.changes.references import is_segment, names_in, read_segments, rule_of
from app.database import Connection, sql
from app.errors import Invalid, Violation, as_sentence
from app.evaluation.validation import compile_violation

_VIOLATIONS_MAX = 20

# Targetings and segments, by key.
Rules = Mapping[str, Any]


async def check_compiling(
    connection: Connection, change_set: ChangeSet, *, exempt: Container[str]
) -> None:
    """Raise Invalid for flags and segments that no longer compile after a written change set.

    Ignores the exempt keys, and those that did not compile before.
    """
    environment, changes = change_set.environment, change_set.changes

    def find() -> tuple[Rules, Rules, list[str]]:
        before = _rules(changes, [change.before.content for change in changes])
        after = _rules(changes, [change.after for change in changes])
        after = {key: rule for key, rule in after.items() if key not in exempt}
        segments = [
            change.key
            for change in changes
            if is_segment(change.before.content) or is_segment(change.after)
        ]
        return before, after, segments

    before, after, changed_segments = await run_by_size(changes, "compile", find)
    users = await _users(connection, environment, changes, changed_segments)
    if not after and not users:
        return

    def names() -> list[str]:
        rules = chain(before.values(), checked.values())
        return sorted({name for rule in rules for name in names_in(rule)})

    with closing(StoredValues(users, after)) as checked:
        # A small change names few segments, unless other flags use the segments that it changes.
        run = checked.run if users else partial(run_by_size, changes)
        segments = await read_segments(connection, environment, await run("compile", names))
        earlier = _segments_before(segments, changes)
        uncompilable = _newly_uncompilable(checked.items(), segments, before, earlier, users)
        violations = await checked.run(
            "compile", lambda: list(islice(uncompilable, _VIOLATIONS_MAX))
        )
    if violations:
        raise Invalid("flag_not_compiling", as_sentence(violations), violations)


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
    connection: Connection, environment: str, changes: Sequence[Change], changed_segments: list[str]
) -> dict[str, str]:
    """Return the rules of unchanged flags that use a changed segment, as JSON."""
    if not changed_segments:
        return {}
    rows = sql.list_segment_users(
        connection,
        environment=environment,
        segments=changed_segments,
        changed=[change.key for change in changes],
    )
    return {row["key"]: row["targeting"] async for row in rows}


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
