"""Explaining an evaluation: from the snapshot for now, from the history for any other moment."""

import time
from collections.abc import Mapping
from typing import Any

from app.changes.history import Moment, entries_at, revision_of
from app.changes.models import Content, Kind
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import NotFound
from app.evaluation.explain import explain
from app.flags.views import EvaluationQuery, ExplainedEvaluation
from app.snapshots.snapshot import Snapshot


def explain_now(snapshot: Snapshot, key: str, query: EvaluationQuery) -> ExplainedEvaluation:
    """Return the evaluation by the rules that are served. Raises NotFound."""
    rules = snapshot.rules
    if key not in rules.definitions:
        raise unknown_flag()
    return _explained(
        snapshot.environment, key, rules.definitions[key], rules.segments, query, snapshot.revision
    )


async def explain_at(
    connection: Connection, name: str, key: str, query: EvaluationQuery, moment: Moment | None
) -> ExplainedEvaluation:
    """Return the evaluation by the rules of a moment, by default now. Raises NotFound.

    The flag set's metadata and the generation of bucketing are those of today.
    """
    environment = await environments.get(connection, name)
    revision = environment.revision
    if moment is not None:
        revision = await revision_of(connection, name, moment)
    found = await entries_at(connection, name, revision)
    contents = {each.key: each.content for each in found.values() if each.content is not None}
    flag = contents.get(key)
    if flag is None or flag.kind is not Kind.FLAG:
        raise unknown_flag()
    return _explained(environment, key, flag.value, _segments(contents), query, revision)


def unknown_flag() -> NotFound:
    """Return the error for a key that no flag has, or had."""
    return NotFound("flag_unknown", "There is no such flag.")


def _segments(contents: Mapping[str, Content]) -> dict[str, Any]:
    return {key: each.value for key, each in contents.items() if each.kind is Kind.SEGMENT}


def _explained(
    environment: Environment,
    key: str,
    definition: Any,
    segments: Mapping[str, Any],
    query: EvaluationQuery,
    revision: int,
) -> ExplainedEvaluation:
    found = explain(
        key,
        definition if isinstance(definition, dict) else {},
        segments=segments,
        fractional=environment.fractional,
        metadata=environment.metadata,
        context=query.context,
        now=int(query.at.timestamp() if query.at is not None else time.time()),
    )
    return ExplainedEvaluation(
        outcome=found.outcome, revision=revision, steps=found.steps, is_complete=found.is_complete
    )
