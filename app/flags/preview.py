"""Preview a draft: evaluate the flags that it affects, before and after, without storing it.

The work runs in a thread, with a limit of its processor time. So neither a hostile draft nor a
segment of many flags can occupy the thread for longer.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.configuration.changes.content_checks import ContentChecks, find_format_error
from app.configuration.changes.flag_checks import GuardResult, guard_results
from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.models import Content
from app.configuration.json_schema.pool import RequestCheck
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import AppError, Invalid, as_sentence
from app.evaluation.engine import Flag, FlagSet, Outcome
from app.evaluation.explain import STEPS_MAX, Explanation, explain, shown
from app.flags.drafts import (
    Draft,
    find_compile_error,
    find_entry_errors,
    find_reference_error,
    guarded_flags,
)
from app.flags.preview_views import (
    ContextPreview,
    DraftEntry,
    FlagPreview,
    GuardPreview,
    Movement,
    Preview,
    PreviewRequest,
    Refusal,
    SamplePreview,
    SampleRequest,
)
from app.flags.sampling import count_outcomes, outcome_name, sampled_contexts, varied_attributes
from app.http.problems import ERRORS_MAX, FieldProblem
from app.threads import ThreadLimiter

# The processor time of a preview, besides about a second for the guards.
SECONDS_MAX = 2.0
# Flags with a preview. A segment may affect thousands.
FLAGS_MAX = 20
# Steps of all explanations of a preview together: each may show kilobytes.
TRACE_STEPS_MAX = 2_000
_WAIT_SECONDS = 5.0
_VIOLATIONS_MAX = 20
# The error code of OFREP, which stands for the outcome.
MISSING_FLAG = "FLAG_NOT_FOUND"


class Previews:
    """Runs previews in a thread, one at a time."""

    def __init__(self, checks: ContentChecks) -> None:
        self._checks = checks
        self._limiter = ThreadLimiter(_WAIT_SECONDS)

    async def run(self, snapshot: Snapshot, request: PreviewRequest, now: int) -> Preview:
        """Return the preview of a draft at a time (Unix seconds). Raises Unavailable."""
        contents = contents_of(request.changes)
        put = [content for content in contents.values() if content is not None]
        refused = await self._checks.run(
            put, lambda check: _entry_refusals(Draft.of(snapshot, contents), check)
        )
        if refused:
            return _refused(snapshot.revision, refused)
        return await self._limiter.run(
            "preview",
            lambda: preview(Draft.of(snapshot, contents), request, snapshot.revision, now),
        )


def contents_of(changes: Mapping[str, DraftEntry | None]) -> dict[str, Content | None]:
    return {key: None if entry is None else Content.of(entry) for key, entry in changes.items()}


def preview(draft: Draft, request: PreviewRequest, revision: int, now: int) -> Preview:
    """Return the effect of a draft whose entries have passed the checks of their contents."""
    end = time.thread_time() + SECONDS_MAX

    def is_over() -> bool:
        return time.thread_time() > end

    error = find_reference_error(draft) or find_compile_error(draft, is_over)
    if error is not None:
        return _refused(revision, [refusal_of(error)])
    guards, error = _evaluate_guards(draft, now)
    flags = list(_flag_previews(draft, request, guards, now, is_over))
    return Preview(
        revision=revision,
        refusals=[] if error is None else [refusal_of(error)],
        flags=flags,
        flags_count=len(draft.flags),
        is_complete=len(flags) == len(draft.flags)
        and all(flag.sample.keys == request.sample.keys for flag in flags),
    )


def _refused(revision: int, refusals: list[Refusal]) -> Preview:
    return Preview(revision=revision, refusals=refusals, flags=[], flags_count=0, is_complete=True)


def _flag_previews(
    draft: Draft,
    request: PreviewRequest,
    guards: Sequence[GuardResult],
    now: int,
    is_over: Callable[[], bool],
) -> Iterator[FlagPreview]:
    keys = draft.flags[:FLAGS_MAX]
    steps_max = TRACE_STEPS_MAX // max(1, 2 * len(keys) * len(request.contexts))
    for key in keys:
        if is_over():
            return
        pair = FlagPair(draft, key)
        yield FlagPreview(
            key=key,
            contexts=[
                pair.context(context, now, min(STEPS_MAX, steps_max))
                for context in request.contexts
            ],
            sample=pair.sample(request.sample, now, is_over),
            guards=[_guard_view(result) for result in guards if result.key == key],
        )


class FlagPair:
    """A flag now and after a draft, compiled. None where it does not exist."""

    def __init__(self, draft: Draft, key: str) -> None:
        rules = draft.rules
        flag_set_before = FlagSet(rules.segments, rules.fractional, rules.metadata)
        self._key = key
        self._sources = (
            (draft.definition_before(key), flag_set_before),
            (draft.definition_after(key), draft.flag_set),
        )
        self._flags = [
            None if definition is None else Flag(key, _object(definition), flag_set)
            for definition, flag_set in self._sources
        ]

    def context(self, context: Mapping[str, Any], now: int, steps_max: int) -> ContextPreview:
        before, after = (
            None
            if definition is None
            else _shortened(
                explain(
                    self._key,
                    _object(definition),
                    flag_set,
                    context=context,
                    now=now,
                    steps_max=steps_max,
                )
            )
            for definition, flag_set in self._sources
        )
        outcomes = [
            None if flag is None else flag.evaluate(context, now).outcome for flag in self._flags
        ]
        return ContextPreview(before=before, after=after, changed=_differ(*outcomes))

    def sample(
        self, request: SampleRequest, now: int, is_over: Callable[[], bool]
    ) -> SamplePreview:
        targetings = [_object(definition).get("targeting") for definition, _ in self._sources]
        attributes = (
            [request.attribute]
            if request.attribute is not None
            else varied_attributes(targetings, request.context)
        )
        contexts = sampled_contexts(request.context, attributes, request.keys)
        flags = [flag for flag in self._flags if flag is not None]
        counts = count_outcomes(flags, contexts, now, is_over=is_over)
        movements = self._movements(counts)
        return SamplePreview(
            keys=counts.total(),
            changed=sum(movement.keys for movement in movements if movement.changed),
            attributes=attributes,
            movements=movements,
        )

    def _movements(self, counts: Mapping[tuple[bytes, ...], int]) -> list[Movement]:
        """Return the counts by the names of the outcomes, the most frequent first."""
        keys: Counter[tuple[str, str, bool]] = Counter()
        for bodies, count in counts.items():
            remaining = iter(bodies)
            outcomes = [
                None if flag is None else flag.encoded(next(remaining)).outcome
                for flag in self._flags
            ]
            before, after = (_name(outcome) for outcome in outcomes)
            keys[before, after, _differ(*outcomes)] += count
        return [
            Movement(before=before, after=after, keys=count, changed=changed)
            for (before, after, changed), count in sorted(
                keys.items(), key=lambda item: (-item[1], item[0])
            )
        ]


def _entry_refusals(draft: Draft, check: RequestCheck) -> list[Refusal]:
    errors = find_entry_errors(draft, lambda content: find_format_error(content, check))
    return [refusal_of(error, key) for key, error in errors]


def _evaluate_guards(draft: Draft, now: int) -> tuple[Sequence[GuardResult], AppError | None]:
    """Return the results of the guards, and why the API would refuse them."""
    results: list[GuardResult] = []
    try:
        results += guard_results(guarded_flags(draft), draft.flag_set, now)
    except Invalid as error:
        return results, error
    violations = [result.violation for result in results if not result.holds][:_VIOLATIONS_MAX]
    if not violations:
        return results, None
    return results, Invalid("guard_broken", as_sentence(violations), violations)


def refusal_of(error: AppError, key: str | None = None) -> Refusal:
    return Refusal(
        key=key,
        code=error.code,
        detail=error.message,
        errors=[FieldProblem(item.field, item.rule) for item in error.violations[:ERRORS_MAX]],
    )


def _guard_view(result: GuardResult) -> GuardPreview:
    return GuardPreview(
        position=result.position,
        name=result.name,
        variant=result.variant,
        actual=result.actual,
        holds=result.holds,
    )


def _shortened(explanation: Explanation) -> Explanation:
    """Leave out what may be large: long values, and the metadata."""
    outcome = msgspec.structs.replace(
        explanation.outcome, value=shown(explanation.outcome.value), metadata={}
    )
    return msgspec.structs.replace(explanation, outcome=outcome)


def _object(definition: Any) -> Mapping[str, Any]:
    """Return a definition. A lenient import may have stored any JSON."""
    return definition if isinstance(definition, dict) else {}


def _name(outcome: Outcome | None) -> str:
    return MISSING_FLAG if outcome is None else outcome_name(outcome)


def _differ(before: Outcome | None, after: Outcome | None) -> bool:
    """Return whether a program sees a difference: another variant, value or error."""
    if before is None or after is None:
        return before is not after
    return (before.variant, before.error_code) != (after.variant, after.error_code) or (
        not are_equal(before.value, after.value)
    )
