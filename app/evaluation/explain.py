"""The same evaluation, with a trace: which part of a rule was reached, and what came out of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from app.evaluation.engine import Flag, Outcome
from app.evaluation.flagd import drawn
from app.evaluation.nodes import Closure
from app.evaluation.operands import LAZY, values_of
from app.evaluation.run import RuleError, Run

# Loops over a client's arrays could fill the memory with their steps.
STEPS_MAX = 1_000
_SHOWN_BYTES_MAX = 1_000
_OPERANDS_MAX = 20


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket of a split: what it gives, and the numbers that fall into it, `end` not included."""

    variant: Any
    weight: int
    start: int
    end: int


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How a `fractional` drew: `bucket` is a number from 0 to below the total weight, or null when
    there was nothing to bucket by.
    """

    bucket: int | None
    total_weight: int
    shares: list[Share]


class Step(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One operator that was run, and within it those of its operands, in the order of running.

    `operands` are the values that it was given, up to the first that it did not ask for; what
    decides between its operands has none, as `steps` show which it ran. `outcome` is what came out
    of it. Either is a word on it when it is long. `error` is what kept it from having an outcome.
    """

    place: str
    operator: str
    operands: list[Any] = []
    split: Split | None = None
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
    trace = _Trace(key, fractional)
    flag = Flag(
        key,
        definition,
        segments=segments,
        fractional=fractional,
        metadata=metadata,
        observe=trace.observe,
    )
    outcome = flag.evaluate(context, now).outcome
    return Explanation(outcome=outcome, steps=trace.steps, is_complete=trace.is_complete)


class _Frame(NamedTuple):
    """A step that runs, and what came out of those within it, by their places."""

    steps: list[Step]
    outcomes: dict[str, Any]


class _Trace:
    def __init__(self, flag_key: str, fractional: str) -> None:
        self.steps: list[Step] = []
        self.is_complete = True
        self._size = 0
        self._flag_key = flag_key
        self._fractional = fractional
        self._open = [_Frame(self.steps, {})]

    def observe(self, place: str, operator: str, raw: Any, closure: Closure) -> Closure:
        def observed(data: Any, run: Run) -> Any:
            if self._size >= STEPS_MAX:
                self.is_complete = False
                return closure(data, run)
            self._size += 1
            step = Step(place=place, operator=operator, steps=[])
            outer, inner = self._open[-1], _Frame(step.steps, {})
            outer.steps.append(step)
            self._open.append(inner)
            try:
                outcome = closure(data, run)
            except RuleError as error:
                step.error = str(error)
                raise
            finally:
                self._open.pop()
                values = [] if operator in LAZY else values_of(operator, raw, place, inner.outcomes)
                step.operands = _operands(values)
            outer.outcomes[place] = outcome
            step.outcome = _shown(outcome)
            if operator == "fractional" and values:
                # A run of its own, as the evaluation has paid for its own drawing.
                step.split = self._split(values, Run(run.context, run.now))
            return outcome

        return observed

    def _split(self, values: list[Any], run: Run) -> Split | None:
        found = drawn(values, self._fractional, self._flag_key, run)
        if found is None:
            return None
        (variants, sums), number = found
        # Each takes as much room as a step.
        self._size += len(sums)
        starts = [0, *sums]
        shares = [
            Share(variant=_shown(variant), weight=end - start, start=start, end=end)
            for variant, start, end in zip(variants, starts, sums, strict=False)
        ]
        return Split(bucket=number, total_weight=sums[-1], shares=shares)


def _operands(values: list[Any]) -> list[Any]:
    few = values[:_OPERANDS_MAX]
    return [_shown(each, _SHOWN_BYTES_MAX // len(few)) for each in few]


def _shown(value: Any, bytes_max: int = _SHOWN_BYTES_MAX) -> Any:
    """Return a value, or that it is long: a context may be a mebibyte, and each step might show it.

    What is long is not encoded to learn that, or a thousand steps would take seconds.
    """
    if not isinstance(value, str | list | dict):
        return value
    if _is_longer(value, bytes_max) or len(msgspec.json.encode(value)) > bytes_max:
        return f"(more than {bytes_max} bytes of JSON)"
    return value


def _is_longer(value: Any, bytes_max: int) -> bool:
    """Tell whether a value surely is longer than that as JSON, by looking at no more of it."""
    left, waiting = bytes_max, [value]
    while waiting and left >= 0:
        part = waiting.pop()
        # Quotes, brackets, commas and colons, and of any other value a byte.
        if isinstance(part, str):
            left -= len(part) + 2
        elif isinstance(part, list):
            left -= len(part) + 1
            waiting += part if left >= 0 else []
        elif isinstance(part, dict):
            left -= 2 * len(part) + 1
            waiting += [*part, *part.values()] if left >= 0 else []
        else:
            left -= 1
    return left < 0
