"""Explaining an evaluation: from the snapshot for now, from the history for any other moment."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.configuration.changes.history import Moment, entries_at, environment_at
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.references import referenced_names
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import NotFound
from app.evaluation.engine import Flag
from app.evaluation.explain import explain
from app.evaluation.ruleset import decode_definition
from app.flags.views import EvaluationQuery, ExplainedEvaluation

SAMPLE_KEYS = 10_000


@dataclass(frozen=True, kw_only=True)
class FlagSource:
    """What a flag was compiled from at a revision, apart from its key."""

    environment: Environment
    revision: int
    definition: Mapping[str, Any]
    segments: Mapping[str, Any]


def source_now(snapshot: Snapshot, key: str) -> FlagSource:
    """Return a flag by the rules that are served. Raises NotFound."""
    rules = snapshot.rules
    if key not in rules.definitions:
        raise unknown_flag()
    definition = decode_definition(rules.definitions[key])
    return _source(snapshot.environment, snapshot.revision, definition, rules.segments)


async def source_at(
    connection: Connection, name: str, key: str, moment: Moment | None
) -> FlagSource:
    """Return a flag by the rules of a moment, by default now. Raises NotFound.

    The flag set's metadata and the generation of bucketing are those of that moment too.
    """
    if moment is None:
        environment = await environments.get(connection, name)
    else:
        environment = await environment_at(connection, name, moment)
    contents = await _reached(connection, name, environment.revision, key)
    flag = contents.get(key)
    if flag is None or flag.kind is not Kind.FLAG:
        raise unknown_flag()
    segments = {key: each.value for key, each in contents.items() if each.kind is Kind.SEGMENT}
    return _source(environment, environment.revision, flag.value, segments)


async def _reached(
    connection: Connection, environment: str, revision: int, key: str
) -> dict[str, Content]:
    """Return the entry of a revision, and all that it refers to, directly or not."""
    contents: dict[str, Content] = {}
    asked: set[str] = set()
    wanted = {key}
    while wanted:
        asked |= wanted
        found = await entries_at(connection, environment, revision, sorted(wanted))
        new = {each.key: each.content for each in found.values() if each.content is not None}
        contents |= new
        wanted = {name for content in new.values() for name in referenced_names(content)} - asked
    return contents


def explained(key: str, source: FlagSource, query: EvaluationQuery) -> ExplainedEvaluation:
    """Return the evaluation of a flag for a context, and how it came about."""
    found = explain(
        key,
        source.definition,
        segments=source.segments,
        fractional=source.environment.fractional,
        metadata=source.environment.metadata,
        context=query.context,
        now=_now(query),
    )
    return ExplainedEvaluation(
        outcome=found.outcome,
        revision=source.revision,
        steps=found.steps,
        is_complete=found.is_complete,
    )


def split(key: str, source: FlagSource, query: EvaluationQuery) -> Counter[str]:
    """Return how many of 10,000 targeting keys get which variant, the rest of the context equal.

    What has no variant is counted under its reason or error code.
    """
    flag = Flag(
        key,
        source.definition,
        segments=source.segments,
        fractional=source.environment.fractional,
        metadata=source.environment.metadata,
    )
    counts: Counter[str] = Counter()
    now = _now(query)
    for number in range(SAMPLE_KEYS):
        context = query.context | {"targetingKey": f"sample-{number}"}
        outcome = flag.evaluate(context, now).outcome
        counts[outcome.variant or outcome.error_code or outcome.reason or ""] += 1
    return counts


def unknown_flag() -> NotFound:
    """Return the error for a key that no flag has, or had."""
    return NotFound("flag_unknown", "There is no such flag.")


def _source(
    environment: Environment, revision: int, definition: Any, segments: Mapping[str, Any]
) -> FlagSource:
    return FlagSource(
        environment=environment,
        revision=revision,
        definition=definition if isinstance(definition, dict) else {},
        segments=segments,
    )


def _now(query: EvaluationQuery) -> int:
    return int(query.at.timestamp() if query.at is not None else time.time())
