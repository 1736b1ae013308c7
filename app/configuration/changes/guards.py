"""Guard cases: example contexts that a flag carries, with the variants that they must get.

They are evaluated inside the transaction that would publish a change, with what is there after it,
so that whatever leads to a broken one (an edit, a segment, a revert, a promotion) is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Any

from app.configuration.changes.models import Change, Content, Kind
from app.configuration.changes.offload import StoredValues, run_by_size
from app.configuration.changes.references import referenced_names
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Invalid, Violation
from app.evaluation.engine import Flag
from app.evaluation.run import STEPS_MAX, Run

_VIOLATIONS_MAX = 20
# What the guard cases of a change set may take together, about a second: other writers wait.
GUARD_STEPS_MAX = 250 * STEPS_MAX
# What each takes whatever its rule does.
_CASE_STEPS = 20


async def check_guards(
    connection: Connection,
    environment: str,
    changes: Sequence[Change],
    at: datetime,
    *,
    rebucketed: bool,
) -> None:
    """Raise Invalid that names each guard case which the written changes break.

    `rebucketed` tells that the generation of bucketing is another one now. Raises Invalid for cases
    that take too long together, too.
    """

    def find() -> tuple[list[str], bool]:
        put = [(change.key, change.after) for change in changes if change.after is not None]
        keys = [key for key, content in put if _has_guards(content)]
        return keys, any(content.kind is Kind.SEGMENT for _, content in put)

    keys, has_segments = await run_by_size(changes, "guards", find)
    moved = rebucketed or has_segments
    if not keys and not moved:
        return
    # When a segment changes, any flag with guards may use it; so it is with bucketing.
    rows = sql.list_guarded_flags(connection, environment=environment, keys=keys, all_of_them=moved)
    texts = {row["key"]: row["value"] async for row in rows}
    if not texts:
        return
    with closing(StoredValues(texts)) as flags:
        violations = await _violations(connection, environment, flags, int(at.timestamp()))
    if violations:
        what = "; ".join(f"{each.field} {each.rule}" for each in violations)
        raise Invalid("guard_broken", f"{what}.", violations)


def _has_guards(content: Content) -> bool:
    is_flag = content.kind is Kind.FLAG and isinstance(content.value, dict)
    return is_flag and bool(content.value.get("guards"))


async def _violations(
    connection: Connection, environment: str, flags: StoredValues, now: int
) -> list[Violation]:
    """Return the first broken cases of the flags."""

    def names() -> list[str]:
        contents = (Content(kind=Kind.FLAG, value=value) for value in flags.values())
        return sorted({name for content in contents for name in referenced_names(content)})

    segments = await _segments(connection, environment, await flags.work("guards", names))
    here = await environments.get(connection, environment)
    found = broken_guards(
        flags.items(),
        segments,
        fractional=here.fractional,
        metadata=here.metadata,
        now=now,
    )
    return await flags.work("guards", lambda: list(islice(found, _VIOLATIONS_MAX)))


async def _segments(connection: Connection, environment: str, names: list[str]) -> dict[str, Any]:
    """Return the segments of these names, and every segment that they use."""
    if not names:
        return {}
    rows = sql.list_reached_segments(connection, environment=environment, names=names, changed=[])
    return {row["key"]: row["value"] async for row in rows}


def broken_guards(
    flags: Iterable[tuple[str, Any]],
    segments: Mapping[str, Any],
    *,
    fractional: str,
    metadata: Mapping[str, Any],
    now: int,
) -> Iterator[Violation]:
    """Yield the broken cases. Raises Invalid once all have taken too many steps."""
    left = GUARD_STEPS_MAX
    for key, value in flags:
        flag = Flag(
            key,
            value,
            segments=segments,
            fractional=fractional,
            metadata=metadata,
        )
        for position, guard in enumerate(_well_formed(value["guards"])):
            run = Run(guard["context"], now)
            outcome = flag.evaluate_run(run).outcome
            left -= _CASE_STEPS + STEPS_MAX - max(0, run.steps)
            if left < 0:
                rule = "take too long together with those before them"
                violation = Violation(f"{key}.guards", rule)
                raise Invalid("guards_costly", f"{violation.field} {rule}.", [violation])
            found = outcome.error_code or outcome.variant or None
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
