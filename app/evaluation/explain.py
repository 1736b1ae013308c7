"""The same evaluation, with a trace: which part of a rule was reached, and what came out of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.evaluation.compiler import Closure
from app.evaluation.engine import Flag, Outcome
from app.evaluation.run import RuleError, Run

# Loops over a client's arrays could fill the memory with their steps.
STEPS_MAX = 1_000
_SHOWN_BYTES_MAX = 1_000


class Step(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One operator that was run, and within it those of its operands, in the order of running.

    `outcome` is what came out of it, or a word on it when that is long; `error` what kept it from
    having one.
    """

    place: str
    operator: str
    outcome: Any = msgspec.UNSET
    error: str | None = None
    steps: list["Step"] = []


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and how it came about. `is_complete` is false when steps were left out."""

    outcome: Outcome
    steps: list[Step]
    is_complete: bool


def explain(
    key: str,
    definition: Mapping[str, Any],
    *,
    segments: Mapping[str, Any],
    fractional: str,
    metadata: Mapping[str, Any],
    context: Mapping[str, Any],
    now: int,
) -> Explanation:
    """Evaluate a flag and tell how: compiled once more, with somebody who watches each operator."""
    trace = _Trace()
    flag = Flag(
        key,
        definition,
        segments=segments,
        fractional=fractional,
        metadata=metadata,
        observe=trace.observe,
    )
    outcome = flag.evaluate(context, now).outcome
    return Explanation(outcome=outcome, steps=trace.steps, is_complete=trace.count <= STEPS_MAX)


class _Trace:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.count = 0
        self._open = [self.steps]

    def observe(self, place: str, operator: str, closure: Closure) -> Closure:
        def observed(data: Any, run: Run) -> Any:
            self.count += 1
            if self.count > STEPS_MAX:
                return closure(data, run)
            step = Step(place=place, operator=operator, steps=[])
            self._open[-1].append(step)
            self._open.append(step.steps)
            try:
                outcome = closure(data, run)
            except RuleError as error:
                step.error = str(error)
                raise
            finally:
                self._open.pop()
            step.outcome = _shown(outcome)
            return outcome

        return observed


def _shown(outcome: Any) -> Any:
    """Return an outcome, or how large it is: a context may be a mebibyte."""
    if not isinstance(outcome, str | list | dict):
        return outcome
    size = len(msgspec.json.encode(outcome))
    return outcome if size <= _SHOWN_BYTES_MAX else f"({size} bytes of JSON)"
