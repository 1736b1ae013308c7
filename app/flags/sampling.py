"""Evaluate flags for sampled keys: the same contexts each time, so that two results compare.

The key number n is `sample-n`. It is the value of each attribute that varies.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from app.evaluation.data_access import lookup
from app.evaluation.engine import Flag, Outcome
from app.evaluation.nodes import MISSING
from app.evaluation.run import STEPS_MAX, Run

SAMPLE_KEYS = 10_000
TARGETING_KEY = "targetingKey"
# The keys between two checks of the time. One evaluation takes at most a few milliseconds.
_KEYS_PER_CHECK = 8
_FLAGD = "$flagd."


def count_outcomes(
    flags: Sequence[Flag],
    contexts: Iterator[dict[str, Any]],
    now: int,
    *,
    is_over: Callable[[], bool] = lambda: False,
) -> Counter[tuple[bytes, ...]]:
    """Return how many contexts get each combination of outcomes, as the bodies of each flag.

    Stops early when the time is over.
    """
    counts: Counter[tuple[bytes, ...]] = Counter()
    for number, context in enumerate(contexts):
        if number % _KEYS_PER_CHECK == 0 and is_over():
            break
        # The flags share the run, because it has the bytes of the targeting key to hash.
        run = Run(context, now)
        bodies = []
        for flag in flags:
            run.steps = STEPS_MAX
            bodies.append(flag.body(context, run))
        counts[tuple(bodies)] += 1
    return counts


def sampled_contexts(
    base: Mapping[str, Any], attributes: Sequence[str], keys: int
) -> Iterator[dict[str, Any]]:
    """Yield the contexts of the sample: the base with another value of the attributes in each."""
    paths = [attribute.split(".") for attribute in attributes]
    for number in range(keys):
        value = f"sample-{number}"
        context = dict(base)
        for path in paths:
            put_at(context, path, value)
        yield context


def varied_attributes(targetings: Sequence[Any], base: Mapping[str, Any]) -> list[str]:
    """Return the attributes that a sample varies: those that splits use and the base lacks.

    The targeting key always varies.
    """
    found = {name for targeting in targetings for name in _bucketing_attributes(targeting)}
    missing = {name for name in found if lookup(base, name.split(".")) is MISSING}
    return [TARGETING_KEY, *sorted(missing - {TARGETING_KEY})]


def outcome_name(outcome: Outcome) -> str:
    """Return the variant of an outcome; without one its error code or its reason."""
    return outcome.variant or outcome.error_code or outcome.reason or ""


def _bucketing_attributes(rule: Any) -> Iterator[str]:
    for node in _objects(rule):
        operands = node.get("fractional")
        if isinstance(operands, list) and operands and isinstance(operands[0], dict):
            yield from variables_in(operands[0])


def variables_in(rule: Any) -> Iterator[str]:
    """Yield the attributes that a rule reads, some of them twice."""
    for node in _objects(rule):
        name = node.get("var")
        if isinstance(name, list) and name:
            name = name[0]
        if isinstance(name, str) and name and not name.startswith(_FLAGD):
            yield name


def _objects(rule: Any) -> Iterator[dict[str, Any]]:
    waiting = [rule]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(node)
        elif isinstance(node, dict):
            yield node
            waiting += reversed(node.values())


def put_at(context: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set the value at a path. An object on the way is copied, because contexts share it."""
    for name in path[:-1]:
        inner = context.get(name)
        context[name] = dict(inner) if isinstance(inner, dict) else {}
        context = context[name]
    context[path[-1]] = value
