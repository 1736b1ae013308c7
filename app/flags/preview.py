"""Preview a draft: evaluate the flags that it affects, before and after, without storing it.

The work runs in a thread, with a limit of its processor time. So neither a hostile draft nor a
segment of many flags can occupy the thread for longer.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from app.access.permissions import Keys
from app.configuration.changes.content_checks import ContentChecks, find_format_error
from app.configuration.changes.flag_checks import GuardResult, guard_results
from app.configuration.changes.foreign_entries import without_foreign
from app.configuration.changes.models import Content
from app.configuration.json_schema.pool import RequestCheck
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import AppError, Invalid, as_sentence
from app.evaluation.explain import STEPS_MAX
from app.flags.drafts import (
    Draft,
    find_compile_error,
    find_entry_errors,
    find_reference_error,
    guarded_flags,
)
from app.flags.flag_pair import FlagPair
from app.flags.preview_views import (
    DraftEntry,
    FlagPreview,
    GuardPreview,
    Preview,
    PreviewRequest,
    Refusal,
)
from app.http.problems import ERRORS_MAX, FieldProblem
from app.threads import ThreadLimiter

# The processor time of a preview, besides about a second for the guards. Not a number of steps: the
# engine counts loops and long texts only, so steps do not bound a rule of many plain conditions.
SECONDS_MAX = 2.0
# Flags with a preview. A segment may affect thousands.
FLAGS_MAX = 20
# Steps of all explanations of a preview together: each may show kilobytes.
TRACE_STEPS_MAX = 2_000
WAIT_SECONDS = 5.0
_VIOLATIONS_MAX = 20
_OTHERS_REFUSED = "Entries that you may not read are refused."


class Previews:
    """Runs previews in a thread, one at a time."""

    def __init__(self, checks: ContentChecks) -> None:
        self._checks = checks
        self._limiter = ThreadLimiter(WAIT_SECONDS)

    async def run(
        self, snapshot: Snapshot, request: PreviewRequest, now: int, keys: Keys | None = None
    ) -> Preview:
        """Return the preview of a draft at a time (Unix seconds). Raises Unavailable.

        `keys` are those that the reader sees, by default those of the snapshot.
        """
        contents = contents_of(request.changes)
        put = [content for content in contents.values() if content is not None]
        refused = await self._checks.run(
            put, lambda check: _entry_refusals(Draft.of(snapshot, contents, keys), check)
        )
        if refused:
            return _refused(snapshot.revision, refused)
        return await self._limiter.run(
            "preview",
            lambda: preview(Draft.of(snapshot, contents, keys), request, snapshot.revision, now),
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


def _entry_refusals(draft: Draft, check: RequestCheck) -> list[Refusal]:
    errors = list(find_entry_errors(draft, lambda content: find_format_error(content, check)))
    seen = [refusal_of(error, key) for key, error in errors if draft.sees(key)]
    if len(seen) < len(errors):
        seen.append(Refusal(key=None, code="entry_refused", detail=_OTHERS_REFUSED, errors=[]))
    return seen


def _evaluate_guards(draft: Draft, now: int) -> tuple[Sequence[GuardResult], AppError | None]:
    """Return the results of the guards, and why the API would refuse them."""
    results: list[GuardResult] = []
    try:
        results += guard_results(guarded_flags(draft), draft.flag_set, now)
    except Invalid as error:
        return results, without_foreign(error, draft.keys)
    violations = [result.violation for result in results if not result.holds][:_VIOLATIONS_MAX]
    if not violations:
        return results, None
    broken = Invalid("guard_broken", as_sentence(violations), violations)
    return results, without_foreign(broken, draft.keys)


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
