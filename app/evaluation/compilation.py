"""Whether a rule compiles with all segments in their places.

Writes, imports and the linter ask here, and evaluation compiles with the same compiler: what is
accepted can be evaluated.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Violation
from app.evaluation.bucketing import GENERATIONS
from app.evaluation.compiler import Compiler
from app.evaluation.nodes import Location
from app.evaluation.operators import OPERATORS
from app.evaluation.run import RuleError

# A location in a deeply nested rule is long.
_SHOWN_MAX = 300
# Every generation of bucketing compiles the same rules.
_ANY_GENERATION = next(iter(GENERATIONS))


def compile_violation(key: str, rule: Any, segments: Mapping[str, Any]) -> Violation | None:
    """Return why the rule of a key does not compile, None when it does."""
    compiler = Compiler(
        flag_key=key,
        segments=segments,
        fractional=_ANY_GENERATION,
        operators=OPERATORS,
        finish=lambda outcome: outcome,
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
