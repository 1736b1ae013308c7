"""All flags for one context: the same outcomes as one by one, at a fraction of the cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.evaluation.compiler import Closure
from app.evaluation.engine import Flag
from app.evaluation.run import STEPS_MAX, Run

# As many are evaluated without a look at the clock.
_BATCH_FLAGS = 64
# What all flags together may take, or one request could ask for ten thousand costly ones.
BULK_STEPS_MAX = 50 * STEPS_MAX


class _Batch(NamedTuple):
    flags: Sequence[Flag]
    rules: Sequence[Closure]


class Bulk:
    """The flags of a ruleset: those whose outcome is always the same, and those with a rule.

    `fixed` are the bodies of the former's outcomes, and `fixed_body` is all of them, with commas
    between.
    """

    def __init__(self, flags: Iterable[Flag]) -> None:
        flags = list(flags)
        self.fixed = [flag.fixed for flag in flags if flag.rule is None]
        self.fixed_body = b",".join(self.fixed)
        ruled = [flag for flag in flags if flag.rule is not None]
        self._batches = [
            _batch(ruled[start : start + _BATCH_FLAGS])
            for start in range(0, len(ruled), _BATCH_FLAGS)
        ]

    def evaluate(self, context: Mapping[str, Any], now: int) -> Iterator[list[bytes]]:
        """Yield the bodies of the outcomes of flags with a rule, some at a time, so that the caller
        can give others a turn. Never raises.
        """
        run = Run(context, now)
        left = BULK_STEPS_MAX
        for flags, rules in self._batches:
            granted = run.steps = max(0, min(STEPS_MAX, left))
            # As if they were one evaluation: together they hardly ever take more than one may.
            bodies = _together(rules, context, run)
            left -= granted - run.steps
            if bodies is not None:
                yield bodies
                continue
            for flag in flags:
                granted = run.steps = max(0, min(STEPS_MAX, left))
                body = flag.body(context, run)
                left -= granted - run.steps
                yield [body]


def _together(rules: Sequence[Closure], context: Mapping[str, Any], run: Run) -> list[bytes] | None:
    """Return what the rules give; None if one fails, as whose fault it is shows one by one."""
    try:
        return [rule(context, run) for rule in rules]
    except Exception:  # noqa: BLE001 - it comes again, and is answered then
        return None


def _batch(flags: Sequence[Flag]) -> _Batch:
    return _Batch(flags, [flag.rule for flag in flags if flag.rule is not None])
