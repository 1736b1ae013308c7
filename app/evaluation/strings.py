"""The operators on strings: `cat`, `substr`, and flagd's `starts_with` and `ends_with`."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler, eager
from app.evaluation.nodes import Location, Node, Prefixed, called, nothing, runs_of
from app.evaluation.run import TEXT_FREE, Run
from app.evaluation.values import EXACT_MAX, joined_text, to_number, to_text


def _cat(run: Run, *values: Any) -> str:
    for value in values:
        if type(value) is not str or len(value) > TEXT_FREE:
            return "".join([joined_text(value, run) for value in values])
    return "".join(values)


def _concatenation(compiler: Compiler, raw: Any, location: Location) -> Node:
    nodes = compiler.arguments(raw, location)
    node = called(_cat, nodes)
    if len(nodes) != 2 or not isinstance(nodes[0].literal, str) or nodes[1].attribute is None:
        return node
    return node._replace(prefixed=Prefixed(nodes[0].literal, nodes[1].attribute))


def _substr(run: Run, source: Any = None, start: Any = 0, length: Any = math.inf, *_: Any) -> str:
    text = to_text(source, run)
    begin, size = _whole(to_number(start, run)), to_number(length, run)
    rest = text[begin:] if begin >= 0 else text[max(0, len(text) + begin) :]
    # A negative length removes that many characters from the end.
    return rest[: max(0, _whole(len(rest) + size if size < 0 else size))]


def _whole(number: float) -> int:
    return 0 if math.isnan(number) else int(max(-EXACT_MAX, min(EXACT_MAX, number)))


def _affix(
    has: Callable[[str, str], bool], compiler: Compiler, raw: Any, location: Location
) -> Node:
    """Compile starts_with or ends_with. The result is null unless both operands are strings."""
    nodes = compiler.arguments(raw, location)
    if len(nodes) != 2:
        return Node(nothing)
    name, fixed = nodes[0].attribute, nodes[1].literal
    if name is not None and isinstance(fixed, str) and len(fixed) <= TEXT_FREE:

        def fixed_affix(data: Any, _run: Run) -> bool | None:
            text = data.get(name)
            return has(text, fixed) if type(text) is str else None

        return Node(fixed_affix)
    first, second = runs_of(nodes)

    def affix(data: Any, run: Run) -> bool | None:
        text, part = first(data, run), second(data, run)
        if type(text) is not str or type(part) is not str:
            return None
        run.spend_on_text(part)
        return has(text, part)

    return Node(affix)


TEXTS: dict[str, Build] = {
    "cat": _concatenation,
    "substr": eager(_substr),
    "starts_with": partial(_affix, str.startswith),
    "ends_with": partial(_affix, str.endswith),
}
