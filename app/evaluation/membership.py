"""The operator `in_list`: whether a string is in a list of the environment."""

from typing import Any

from app.evaluation.compiler import Build, Compiler
from app.evaluation.lists import list_reference, loaded_list
from app.evaluation.nodes import Location, Node
from app.evaluation.run import RuleError, Run
from app.evaluation.targeting import IN_LIST


def _in_list(compiler: Compiler, raw: Any, location: Location) -> Node:
    if not (isinstance(raw, list) and len(raw) == 2 and isinstance(raw[0], str)):
        raise RuleError(f"{location.path}: must be a list of the key of a list and a value")
    name = raw[0]
    # Missing lists too: once they exist, the rule can be compiled.
    compiler.analysis.references |= {name}
    if name not in compiler.segments:
        raise RuleError(f"{location.path}: there is no such list")
    reference = list_reference(compiler.segments[name])
    if reference is None:
        raise RuleError(f"{location.path}: must name a list, and this segment is a rule")
    # The result depends on more than strings in the rule.
    compiler.analysis.lookups += 1
    needle = compiler.compile(raw[1], location.at(1)).run
    members = loaded_list(reference.digest)
    if members is None:
        return Node(_not_loaded)
    if members.instants is None:
        compiler.analysis.clocks += 1
    elif members.instants:
        compiler.analysis.clocks += 1
        compiler.analysis.clocks_compared += 1
        compiler.analysis.transitions |= members.instants
    has = members.has

    def in_list(data: Any, run: Run) -> bool:
        return has(needle(data, run), run.now)

    return Node(in_list)


def _not_loaded(_data: Any, _run: Run) -> bool:
    raise RuleError("a list that the rule uses is not loaded yet")


LISTS: dict[str, Build] = {IN_LIST: _in_list}
