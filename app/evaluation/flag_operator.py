"""The operator `flag`, and the prerequisites of a flag: the outcome of another flag.

`{"flag": [KEY, VARIANT]}` is true when the other flag gives that variant for the same context and
time. `{"flag": [KEY]}` returns the name of its variant. A flag that is disabled, has no default
variant or fails has no variant: the name is null.

The other flag is compiled once, and evaluated once for a context. Each use spends the steps of the
evaluation, so that the result of a rule does not depend on what was evaluated before it.
"""

from typing import TYPE_CHECKING, Any

from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import Closure, Location, Node
from app.evaluation.run import RuleError, Run

if TYPE_CHECKING:
    from app.evaluation.engine import Flag

# Plain operators are evaluated in the time of one step.
_NODES_PER_STEP = 4


def needed_variant(raw: Any) -> tuple[str, str | None] | None:
    """Return the key and the variant of an operator `flag`; None for malformed arguments."""
    match raw:
        case str(key) | [str(key)]:
            return key, None
        case [str(key), str(variant)]:
            return key, variant
        case _:
            return None


def unmet_prerequisites(compiler: Compiler, prerequisites: Any) -> list[Node]:
    """Compile the conditions that a prerequisite does not hold. Raises RuleError."""
    # A lenient import may have stored any JSON.
    if not isinstance(prerequisites, list):
        raise RuleError("prerequisites: must be a list")
    return [
        _unmet(compiler, prerequisite, Location(f"prerequisites[{position}]"))
        for position, prerequisite in enumerate(prerequisites)
    ]


def _unmet(compiler: Compiler, prerequisite: Any, location: Location) -> Node:
    match prerequisite:
        case {"flag": str(key), "variant": str(variant)}:
            arguments = [key, variant]
        case _:
            raise RuleError(f"{location.path}: must be an object with a flag and a variant")

    def compile_part() -> Node:
        compiler.count(1)
        is_met = _flag(compiler, arguments, location)
        is_met = compiler.observed("flag", arguments, location, is_met)
        return _negated(is_met.run)

    return compiler.compile_part(("prerequisite", key, variant), compile_part)


def _negated(is_met: Closure) -> Node:
    return Node(lambda data, run: not is_met(data, run))


def _flag(compiler: Compiler, raw: Any, location: Location) -> Node:
    needed = needed_variant(raw)
    if needed is None:
        raise RuleError(f"{location.path}: must be the key of a flag and optionally a variant")
    key, variant = needed
    # The other flag may read any attribute.
    compiler.analysis.lookups += 1
    read = _variant_of(compiler.needed_flag(key, location))
    if variant is None:
        return Node(read)
    return Node(lambda data, run: read(data, run) == variant)


def _variant_of(flag: "Flag") -> Closure:
    cost = 1 + flag.nodes // _NODES_PER_STEP

    def variant_of(_data: Any, run: Run) -> str | None:
        known = run.variants
        if known is None:
            known = run.variants = {}
        evaluated = known.get(flag)
        if evaluated is not None:
            name, steps = evaluated
            run.spend(steps)
            return name
        before = run.steps
        # Plain operators are free, but a rule may need many flags with many of them.
        run.spend(cost)
        # In a loop, the data is an element; the other flag is evaluated for the context.
        name = flag.encoded(flag.body(run.context, run)).outcome.variant or None
        run.spend(0)
        known[flag] = name, before - run.steps
        return name

    return variant_of


FLAGS: dict[str, Build] = {"flag": _flag}
