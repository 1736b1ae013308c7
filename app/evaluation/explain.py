"""Evaluate a flag with a trace: the operators that ran, with their operands and results."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from app.evaluation.engine import ErrorCode, Flag, FlagSet, Outcome, Reason
from app.evaluation.flag_operator import needed_variant
from app.evaluation.flagd_operators import draw
from app.evaluation.nodes import MISSING, Closure
from app.evaluation.plans.compiling import definition_at
from app.evaluation.run import RuleError, Run
from app.evaluation.values import is_truthy

# Bounds the memory of a trace: loops over a client's arrays may run millions of steps.
STEPS_MAX = 1_000
_SHOWN_BYTES_MAX = 1_000
_OPERANDS_MAX = 20
# Replaces the variant of a flag that the reader must not see.
_HIDDEN = "(hidden)"

# These operators choose which of their operands are evaluated.
_LAZY = frozenset({"if", "?:", "and", "or"})
# The second operand of these is a rule, which has one result per element.
_LOOPS = frozenset({"map", "filter", "all", "none", "some", "reduce"})


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket of a split: its variant, and its range of numbers, `end` excluded."""

    variant: Any
    weight: int
    start: int
    end: int


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a `fractional`: `bucket` is a number from 0 to below the total weight, or null
    without a value to bucket by.
    """

    bucket: int | None
    total_weight: int
    shares: list[Share]


class NeededFlag(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of the other flag that the operator `flag` names; no variant is null."""

    key: str
    variant: str | None
    reason: Reason | None
    error_code: ErrorCode | None
    error_details: str | None


class EvaluationStep(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An operator that ran; `steps` are the operators of its operands, in the order they ran.

    `operands` are their values, up to the first that was not evaluated. `if`, `and` and `or` have
    none, because `steps` show which operands ran. `needed` is the outcome of the other flag that
    `flag` names. `$ref` is a segment that the reader must not see: its outcome is true or false.
    `outcome` is the result. A long value is replaced by a remark. `error` says why
    there is no outcome.
    """

    place: str
    operator: str
    operands: list[Any] = []
    split: Split | None = None
    needed: NeededFlag | None = None
    outcome: Any = msgspec.UNSET
    error: str | None = None
    steps: list["EvaluationStep"] = []


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome with its trace. `is_complete` is false when steps were left out."""

    outcome: Outcome
    steps: list[EvaluationStep]
    is_complete: bool


def explain(
    key: str,
    definition: Mapping[str, Any],
    flag_set: FlagSet,
    *,
    context: Mapping[str, Any],
    now: int,
    steps_max: int = STEPS_MAX,
    sees: Callable[[str], bool] = lambda _: True,
) -> Explanation:
    """Compile a flag again with an observer of each operator, and evaluate it.

    The steps are those of the rules in force: the periods of a plan are no operators of its author.
    `sees` says whether the reader may see the content of a segment or another flag.
    """
    trace = _Trace(key, flag_set, steps_max, sees)
    in_force = definition_at(definition, now)
    flag = Flag(key, in_force, flag_set, observer=trace)
    outcome = flag.shown_to(sees).evaluate(context, now).outcome
    if in_force is not definition:
        # The same variant, but the reason that clients get.
        outcome = Flag(key, definition, flag_set).shown_to(sees).evaluate(context, now).outcome
    return Explanation(outcome=outcome, steps=trace.steps, is_complete=trace.is_complete)


class _Frame(NamedTuple):
    """The steps inside a running step, and their results by path."""

    steps: list[EvaluationStep]
    outcomes: dict[str, Any]


class _Trace:
    def __init__(
        self, flag_key: str, flag_set: FlagSet, steps_max: int, sees: Callable[[str], bool]
    ) -> None:
        self._steps_max = steps_max
        self.sees = sees
        self.steps: list[EvaluationStep] = []
        self.is_complete = True
        self._size = 0
        self._flag_key = flag_key
        self._fractional = flag_set.fractional
        self._flag_of = flag_set.flag_of
        self._open = [_Frame(self.steps, {})]

    def observe(self, path: str, operator: str, raw: Any, closure: Closure) -> Closure:
        def observed(data: Any, run: Run) -> Any:
            if self._size >= self._steps_max:
                self.is_complete = False
                return closure(data, run)
            self._size += 1
            step = EvaluationStep(place=path, operator=operator, steps=[])
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
                values = (
                    []
                    if operator in _LAZY
                    else _operand_values(operator, raw, path, inner.outcomes)
                )
                few = values[:_OPERANDS_MAX]
                step.operands = [shown(value, _SHOWN_BYTES_MAX // len(few)) for value in few]
            visible = self._visible(operator, raw, outcome)
            outer.outcomes[path] = visible
            step.outcome = shown(visible)
            if operator == "fractional" and values:
                # A separate run: the explanation must not spend steps of the evaluation.
                step.split = self._split(values, Run(run.context, run.now))
            if operator == "flag":
                step.needed = self._needed(raw, Run(run.context, run.now))
            return outcome

        return observed

    def _visible(self, operator: str, raw: Any, outcome: Any) -> Any:
        """Return the outcome of an operator without the content of an entry that is not seen."""
        if operator == "$ref":
            return is_truthy(outcome)
        arguments = needed_variant(raw) if operator == "flag" else None
        if arguments is None or arguments[1] is not None or self.sees(arguments[0]):
            return outcome
        return _HIDDEN

    def _needed(self, raw: Any, run: Run) -> NeededFlag | None:
        arguments = needed_variant(raw)
        flag = self._flag_of(arguments[0]) if arguments is not None else None
        if flag is None or not self.sees(flag.key):
            return None
        outcome = flag.shown_to(self.sees).evaluate_run(run).outcome
        return NeededFlag(
            key=flag.key,
            variant=outcome.variant or None,
            reason=outcome.reason,
            error_code=outcome.error_code,
            error_details=outcome.error_details,
        )

    def _split(self, values: list[Any], run: Run) -> Split | None:
        result = draw(values, self._fractional, self._flag_key, run)
        if result is None:
            return None
        (variants, sums), number = result
        # A share takes as much memory as a step.
        self._size += len(sums)
        starts = [0, *sums]
        shares = [
            Share(variant=shown(variant), weight=end - start, start=start, end=end)
            for variant, start, end in zip(variants, starts, sums, strict=False)
        ]
        return Split(bucket=number, total_weight=sums[-1], shares=shares)


def _operand_values(operator: str, raw: Any, path: str, outcomes: Mapping[str, Any]) -> list[Any]:
    """Return the values of an operator's operands, up to the first that has none.

    `outcomes` are those of the operators directly within it, by their places.
    """
    if isinstance(raw, list):
        arguments = [(value, f"{path}[{position}]") for position, value in enumerate(raw)]
    else:
        arguments = [(raw, path)]
    if operator in _LOOPS:
        arguments = [(arguments[0][0], f"{path}[0]")] if arguments else []
    values = []
    for argument, where in arguments:
        value = _value(argument, where, outcomes)
        if value is MISSING:
            break
        values.append(value)
    return values


def _value(raw: Any, path: str, outcomes: Mapping[str, Any]) -> Any:
    if isinstance(raw, list):
        values = [_value(item, f"{path}[{at}]", outcomes) for at, item in enumerate(raw)]
        return MISSING if MISSING in values else values
    if not isinstance(raw, dict) or len(raw) != 1:
        return raw
    # The path of a segment continues the path of its reference.
    inner = f"{path}."
    return next((value for at, value in outcomes.items() if at.startswith(inner)), MISSING)


def shown(value: Any, bytes_max: int = _SHOWN_BYTES_MAX) -> Any:
    """Return a value, or a remark if it is long: each step may show a context of 1 MiB.

    Long values are recognised without encoding them, which would take seconds for 1,000 steps.
    """
    if not isinstance(value, str | list | dict):
        return value
    if _is_longer(value, bytes_max) or len(msgspec.json.encode(value)) > bytes_max:
        return f"(more than {bytes_max} bytes of JSON)"
    return value


def _is_longer(value: Any, bytes_max: int) -> bool:
    """Return whether the JSON of a value is surely longer, reading at most that much of it."""
    left, stack = bytes_max, [value]
    while stack and left >= 0:
        part = stack.pop()
        # Count quotes, brackets, commas and colons, and one byte for any other value.
        if isinstance(part, str):
            left -= len(part) + 2
        elif isinstance(part, list):
            left -= len(part) + 1
            stack += part if left >= 0 else []
        elif isinstance(part, dict):
            left -= 2 * len(part) + 1
            stack += [*part, *part.values()] if left >= 0 else []
        else:
            left -= 1
    return left < 0
