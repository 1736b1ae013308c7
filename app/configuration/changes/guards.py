"""Guard cases: example contexts in a flag's definition, each with the variant that it must get.

The transaction of each change set evaluates them after the write. So an edit, a segment, a revert
or a promotion that breaks a guard is refused.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from app.configuration.changes.models import ChangeSet, Content, Kind
from app.configuration.changes.offload import StoredValues, run_by_size
from app.configuration.changes.references import names_in, read_segments
from app.database import Connection, sql
from app.environments import service as environments
from app.errors import Invalid, Violation, as_sentence
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.run import STEPS_MAX, Run

_VIOLATIONS_MAX = 20
# The limit for all guard cases of a change set, about a second. Other writers wait meanwhile.
GUARD_STEPS_MAX = 250 * STEPS_MAX
# The cost of a guard case besides its rule.
_CASE_STEPS = 20


async def check_guards(connection: Connection, change_set: ChangeSet) -> None:
    """Raise Invalid for guard cases that a written change set breaks, or that take too long."""
    changes, properties = change_set.changes, change_set.properties

    def find() -> tuple[list[str], bool]:
        put = [(change.key, change.after) for change in changes if change.after is not None]
        keys = [key for key, content in put if _has_guards(content)]
        return keys, any(content.kind is Kind.SEGMENT for _, content in put)

    keys, has_segments = await run_by_size(changes, "guards", find)
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


def _has_guards(content: Content) -> bool:
    is_flag = content.kind is Kind.FLAG and isinstance(content.value, dict)
    return is_flag and bool(content.value.get("guards"))


async def _violations(
    connection: Connection, environment: str, flags: StoredValues, now: int
) -> list[Violation]:
    def names() -> list[str]:
        rules = (flag.get("targeting") for flag in flags.values())
        return sorted({name for rule in rules for name in names_in(rule)})

    segments = await read_segments(connection, environment, await flags.run("guards", names))
    properties = (await environments.get(connection, environment)).properties
    flag_set = FlagSet(segments, properties.fractional, properties.metadata)
    broken = broken_guards(flags.items(), flag_set, now)
    return await flags.run("guards", lambda: list(islice(broken, _VIOLATIONS_MAX)))


def broken_guards(
    flags: Iterable[tuple[str, Any]], flag_set: FlagSet, now: int
) -> Iterator[Violation]:
    """Yield the broken guard cases. Raises Invalid when they take too many steps together."""
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
            variant = outcome.error_code or outcome.variant or None
            if variant != guard["variant"]:
                name = f" ({guard['name']})" if guard.get("name") else ""
                actual, expected = variant or "no variant", guard["variant"] or "no variant"
                rule = f"gets {actual} and must get {expected}{name}"
                yield Violation(f"{key}.guards[{position}]", rule)


def _well_formed(guards: Any) -> list[dict[str, Any]]:
    """Return the guards, or none when they are malformed, as a lenient import allows."""
    is_list = isinstance(guards, list) and all(
        isinstance(guard, dict) and isinstance(guard.get("context"), dict) and "variant" in guard
        for guard in guards
    )
    return guards if is_list else []
