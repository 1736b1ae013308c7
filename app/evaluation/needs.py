"""The flags that a flag needs: by its prerequisites, or by the operator `flag` in its targeting."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.evaluation.flag_operator import needed_variant
from app.evaluation.plans.compiling import without_plan

OPERATOR = "flag"


class Need(NamedTuple):
    """Another flag, and the variant that it must give; None for any of its variants."""

    flag: str
    variant: str | None


def needs_of(definition: Any) -> Iterator[Need]:
    """Yield the needs of a flag's definition, which may be any JSON."""
    if not isinstance(definition, Mapping):
        return
    yield from prerequisites_of(definition)
    # The steps of a plan may have rules of their own.
    yield from needs_in(without_plan(definition).get("targeting"))


def prerequisites_of(definition: Mapping[str, Any]) -> Iterator[Need]:
    """Yield the well-formed prerequisites of a definition."""
    prerequisites = definition.get("prerequisites")
    for prerequisite in prerequisites if isinstance(prerequisites, list) else ():
        match prerequisite:
            case {"flag": str(key), "variant": str(variant)}:
                yield Need(key, variant)
            case _:
                continue


def needs_in(rule: Any) -> Iterator[Need]:
    """Yield the needs in a rule."""
    waiting = [rule]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if len(node) == 1 and OPERATOR in node:
                needed = needed_variant(node[OPERATOR])
                if needed is not None:
                    yield Need(*needed)
            waiting += [part for part in node.values() if type(part) in (dict, list)]
        elif isinstance(node, list):
            waiting += [part for part in node if type(part) in (dict, list)]
