"""Check that a rule compiles together with its segments.

Writes, imports and the linter use this check. Evaluation uses the same compiler, so every accepted
rule can be evaluated.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Violation
from app.evaluation.bucketing import GENERATIONS
from app.evaluation.compiler import Compiler
from app.evaluation.nodes import Location
from app.evaluation.operators import OPERATORS
from app.evaluation.run import RuleError

# The path of a deeply nested part is long.
_SHOWN_MAX = 300
# The choice does not matter: every generation of bucketing compiles the same rules.
_ANY_GENERATION = next(iter(GENERATIONS))


def compile_violation(key: str, rule: Any, segments: Mapping[str, Any]) -> Violation | None:
    """Return why the rule of a key does not compile, None when it does."""
    compiler = Compiler(
        flag_key=key,
        segments=segments,
        fractional=_ANY_GENERATION,
        operators=OPERATORS,
        resolve=lambda result: result,
    )
    try:
        compiler.compile(rule, Location("targeting"))
    except RuleError as error:
        return Violation(key, f"cannot be evaluated: {str(error)[:_SHOWN_MAX]}")
    return None


def uncompilable(rules: Mapping[str, Any], segments: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield each rule that does not compile; `rules` are targetings and segments by their keys."""
    for key, rule in rules.items():
        violation = compile_violation(key, rule, segments)
        if violation is not None:
            yield violation
