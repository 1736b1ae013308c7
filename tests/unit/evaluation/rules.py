"""Build rules and flags for the tests of evaluation."""

from collections.abc import Mapping
from typing import Any

from app.evaluation.compiler import Compiler
from app.evaluation.engine import Flag, FlagOf, FlagSet, no_flag
from app.evaluation.nodes import Location
from app.evaluation.operators import OPERATORS
from app.evaluation.run import Run

NOW = 1_800_000_000


def var(path: Any, *default: Any) -> dict[str, Any]:
    return {"var": [path, *default]}


def result(
    rule: Any,
    data: Any = None,
    *,
    segments: Mapping[str, Any] | None = None,
    fractional: str = "v3",
    run: Run | None = None,
    flag_of: FlagOf = no_flag,
) -> Any:
    """Evaluate a rule for a context. Raises RuleError.

    Data that is no object stands for the element of a loop.
    """
    data = {} if data is None else data
    is_context = isinstance(data, dict)
    compiler = Compiler(
        flag_key="flag",
        segments=segments or {},
        fractional=fractional,
        operators=OPERATORS,
        resolve=lambda given: given,
        flag_of=flag_of,
    )
    compiled = compiler.compile(rule, Location("rule", is_scoped=not is_context))
    return compiled.run(data, run or Run(data if is_context else {}, NOW))


def flag(
    targeting: Any = None,
    *,
    segments: Mapping[str, Any] | None = None,
    fractional: str = "v3",
    flag_set: Mapping[str, Any] | None = None,
    **members: Any,
) -> Flag:
    """Return a flag with the variants a and b; b is the default."""
    definition = {
        "state": "ENABLED",
        "variants": {"a": "A", "b": "B"},
        "defaultVariant": "b",
        "targeting": targeting,
    }
    return compiled(
        {**definition, **members}, segments=segments, fractional=fractional, flag_set=flag_set
    )


def compiled(
    definition: Mapping[str, Any],
    *,
    segments: Mapping[str, Any] | None = None,
    fractional: str = "v3",
    flag_set: Mapping[str, Any] | None = None,
) -> Flag:
    """Compile a definition; `flag_set` is the metadata of the flag set."""
    return Flag("flag", definition, FlagSet(segments or {}, fractional, flag_set or {}))


def same(left: Any, right: Any) -> bool:
    """Compare as JSON: true differs from 1, and NaN equals itself."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124 - NaN
