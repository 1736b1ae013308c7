"""Explanations of evaluations, from the current snapshot or from the history."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.access.permissions import Keys
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.past import Moment, entries_at, environment_at
from app.configuration.changes.references import used_names
from app.configuration.snapshots.snapshot import Snapshot
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import NotFound
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.explain import explain
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.ruleset import decode_definition
from app.flags.sampling import (
    SAMPLE_KEYS,
    TARGETING_KEY,
    count_outcomes,
    outcome_name,
    sampled_contexts,
)
from app.flags.views import EvaluationQuery, ExplainedEvaluation


@dataclass(frozen=True, kw_only=True)
class FlagSource:
    """The inputs from which a flag is compiled at a revision, except its key."""

    revision: int
    definition: Mapping[str, Any]
    flag_set: FlagSet


def source_now(snapshot: Snapshot, key: str) -> FlagSource:
    """Return the inputs of a flag from the current snapshot. Raises NotFound."""
    rules = snapshot.rules
    if key not in rules.definitions:
        raise unknown_flag()
    definition = decode_definition(rules.definitions[key])
    return _source(snapshot.environment, definition, rules.flag_set)


async def source_at(
    connection: Connection, name: str, key: str, moment: Moment | None
) -> FlagSource:
    """Return the inputs of a flag at a moment, by default the latest. Raises NotFound.

    Metadata of the flag set and the version of `fractional` are from that moment too.
    """
    if moment is None:
        environment = await environments.get(connection, name)
    else:
        environment = await environment_at(connection, name, moment)
    contents = await _with_references(connection, name, environment.revision, key)
    flag = contents.get(key)
    if flag is None or flag.kind is not Kind.FLAG:
        raise unknown_flag()
    segments = {name: c.value for name, c in contents.items() if c.kind is Kind.SEGMENT}
    definitions = {name: c.value for name, c in contents.items() if c.kind is Kind.FLAG}
    flag_set = FlagSet(segments, environment.fractional, environment.metadata)
    compiler = FlagCompiler(flag_set, definitions.get)
    return _source(environment, flag.value, compiler.flag_set)


async def _with_references(
    connection: Connection, environment: str, revision: int, key: str
) -> dict[str, Content]:
    """Return an entry at a revision, and every entry that it refers to, directly or not."""
    contents: dict[str, Content] = {}
    requested: set[str] = set()
    missing = {key}
    while missing:
        requested |= missing
        entries = await entries_at(connection, environment, revision, sorted(missing))
        new = {entry.key: entry.content for entry in entries.values() if entry.content is not None}
        contents |= new
        names = {name for content in new.values() for name in used_names(content)}
        missing = names - requested
    return contents


def explained(
    key: str, source: FlagSource, query: EvaluationQuery, keys: Keys
) -> ExplainedEvaluation:
    """Return the explanation for a reader who may see the content of these keys."""
    explanation = explain(
        key,
        source.definition,
        source.flag_set,
        context=query.context,
        now=_now(query),
        sees=keys.__contains__,
    )
    return ExplainedEvaluation(
        outcome=explanation.outcome,
        revision=source.revision,
        steps=explanation.steps,
        is_complete=explanation.is_complete,
    )


def split(key: str, source: FlagSource, query: EvaluationQuery) -> Counter[str]:
    """Return the number of 10,000 targeting keys that get each variant.

    The rest of the context stays the same. Outcomes without a variant count under their reason or
    error code.
    """
    flag = Flag(key, source.definition, source.flag_set)
    contexts = sampled_contexts(query.context, [TARGETING_KEY], SAMPLE_KEYS)
    counts: Counter[str] = Counter()
    for (body,), count in count_outcomes([flag], contexts, _now(query)).items():
        counts[outcome_name(flag.encoded(body).outcome)] += count
    return counts


def unknown_flag() -> NotFound:
    return NotFound("flag_unknown", "There is no such flag.")


def _source(environment: Environment, definition: Any, flag_set: FlagSet) -> FlagSource:
    return FlagSource(
        revision=environment.revision,
        definition=definition if isinstance(definition, dict) else {},
        flag_set=flag_set,
    )


def _now(query: EvaluationQuery) -> int:
    return int(query.at.timestamp() if query.at is not None else time.time())
