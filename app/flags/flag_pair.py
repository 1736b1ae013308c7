"""A flag before and after a draft: the outcomes of contexts and of sampled keys, side by side."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from app.configuration.changes.json_patch import are_equal
from app.evaluation.engine import Flag, Outcome
from app.evaluation.explain import Explanation, explain, shown
from app.flags.drafts import Draft
from app.flags.preview_views import ContextPreview, Movement, SamplePreview, SampleRequest
from app.flags.sampling import count_outcomes, outcome_name, sampled_contexts, varied_attributes

# The error code of OFREP, which stands for the outcome.
MISSING_FLAG = "FLAG_NOT_FOUND"


class FlagPair:
    """A flag now and after a draft, compiled. None where it does not exist."""

    def __init__(self, draft: Draft, key: str) -> None:
        self._key = key
        self._draft = draft
        self._sources = (
            (draft.definition_before(key), draft.rules.flag_set),
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
                    sees=self._draft.sees,
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
        targetings = [_object(definition).get("targeting") for definition in self._definitions()]
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

    def _definitions(self) -> Iterator[Any]:
        """Yield the definitions of the flag, and of the flags that it needs and the reader sees."""
        for (definition, _), flag in zip(self._sources, self._flags, strict=True):
            yield definition
            needed = flag.references if flag is not None and flag.needs_flags else ()
            for key in filter(self._draft.sees, needed):
                yield self._draft.definition_before(key)
                yield self._draft.definition_after(key)

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
