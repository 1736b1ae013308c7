"""Guard cases: example contexts that a flag carries, with the variants that they must get.

They are evaluated inside the transaction that would publish a change, with what is there after it,
so that whatever leads to a broken one (an edit, a segment, a revert, a promotion) is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.changes.models import Change, Content, Kind
from app.changes.references import references
from app.database import Connection, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import Invalid, Violation
from app.evaluation.engine import Flag

_VIOLATIONS_MAX = 20


async def check_guards(
    connection: Connection,
    environment: str,
    changes: Sequence[Change],
    at: datetime,
    *,
    rebucketed: bool,
) -> None:
    """Raise Invalid that names each guard case which the written changes break.

    `rebucketed` tells that the generation of bucketing is another one now.
    """
    put = [(change.key, change.after) for change in changes if change.after is not None]
    keys = [key for key, content in put if _has_guards(content)]
    moved = rebucketed or any(content.kind is Kind.SEGMENT for _, content in put)
    if not keys and not moved:
        return
    # When a segment changes, any flag with guards may use it; so it is with bucketing.
    rows = sql.list_guarded_flags(connection, environment=environment, keys=keys, all_of_them=moved)
    flags = {row["key"]: row["value"] async for row in rows}
    if not flags:
        return
    segments = await _segments(connection, environment, flags)
    here = await environments.get(connection, environment)
    violations = [
        violation
        for key, value in flags.items()
        for violation in _broken(key, value, segments, here, int(at.timestamp()))
    ][:_VIOLATIONS_MAX]
    if violations:
        what = "; ".join(f"{each.field} {each.rule}" for each in violations)
        raise Invalid("guard_broken", f"{what}.", violations)


def _has_guards(content: Content) -> bool:
    is_flag = content.kind is Kind.FLAG and isinstance(content.value, dict)
    return is_flag and bool(content.value.get("guards"))


async def _segments(
    connection: Connection, environment: str, flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every segment that the flags use, directly or through others."""
    contents = (Content(kind=Kind.FLAG, value=value) for value in flags.values())
    names = {name for content in contents for name in references(content)}
    if not names:
        return {}
    rows = sql.list_reached_segments(
        connection, environment=environment, names=sorted(names), changed=[]
    )
    return {row["key"]: row["value"] async for row in rows}


def _broken(
    key: str, value: Any, segments: Mapping[str, Any], here: Environment, now: int
) -> Iterator[Violation]:
    flag = Flag(
        key,
        value,
        segments=segments,
        fractional=here.fractional,
        metadata=here.metadata,
    )
    for position, guard in enumerate(_well_formed(value["guards"])):
        outcome = flag.evaluate(guard["context"], now).outcome
        found = outcome.error_code or outcome.variant
        if found != guard["variant"]:
            name = f" ({guard['name']})" if guard.get("name") else ""
            given, wanted = (each or "no variant" for each in (found, guard["variant"]))
            rule = f"gets {given} and must get {wanted}{name}"
            yield Violation(f"{key}.guards[{position}]", rule)


def _well_formed(guards: Any) -> list[dict[str, Any]]:
    """Return the guards, or none when a lenient import has let something else pass for them."""
    is_list = isinstance(guards, list) and all(
        isinstance(guard, dict) and isinstance(guard.get("context"), dict) and "variant" in guard
        for guard in guards
    )
    return guards if is_list else []
