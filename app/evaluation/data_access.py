"""The operators that read the data: `var`, `missing` and `missing_some`.

The context always has `$flagd`, which replaces any attribute of that name from the client.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import MISSING, Closure, Location, Node, literal, nothing, runs_of
from app.evaluation.run import Run
from app.evaluation.transitions import SECONDS
from app.evaluation.values import number_text, to_number, to_text

_FLAGD = "$flagd"
# Characters of a path that are split, and members that are copied, in the time of one step.
_SPLIT_PER_STEP = 4
_COPIED_PER_STEP = 4

# Called with the data, the run and a path; returns the value or MISSING.
Find = Callable[[Any, Run, Any], Any]


def lookup(data: Any, parts: Iterable[str]) -> Any:
    """Return the value at a path of names and positions, or MISSING."""
    for part in parts:
        data = _member(data, part)
        if data is MISSING:
            return MISSING
    return data


def _member(data: Any, part: str) -> Any:
    if isinstance(data, dict):
        return data.get(part, MISSING)
    if isinstance(data, list | str):
        if part == "length":
            return len(data)
        if part.isascii() and part.isdecimal() and len(part) < 10 and str(int(part)) == part:
            return data[int(part)] if int(part) < len(data) else MISSING
    return MISSING


def _var(compiler: Compiler, raw: Any, location: Location) -> Node:
    compiler.analysis.lookups += 1
    nodes = compiler.arguments(raw, location)
    path = nodes[0] if nodes else literal(None)
    default = nodes[1].run if len(nodes) > 1 else nothing
    if path.is_literal and not isinstance(path.literal, dict | list | bool):
        return _var_of_fixed(compiler, path.literal, default, location)
    # A computed path may lead to the clock.
    compiler.analysis.clocks += 1
    find, path_of = _finder(compiler.own_key(), location), path.run
    return Node(_or_default(lambda data, run: find(data, run, path_of(data, run)), default))


def _var_of_fixed(compiler: Compiler, path: Any, default: Closure, location: Location) -> Node:
    """Compile the access to a literal path, the usual case."""
    if path is None or path == "":
        if location.is_scoped:
            return Node(lambda data, _run: data)
        compiler.analysis.clocks += 1
        return Node(_whole_of(compiler.own_key()))
    parts = (path if isinstance(path, str) else number_text(path)).split(".")
    compiler.count(len(parts) - 1)
    if not location.is_scoped:
        if parts == [_FLAGD, "flagKey"]:
            compiler.analysis.lookups -= 1
            return literal(compiler.own_key())
        if parts[0] == _FLAGD:
            return _var_of_flagd(compiler, parts[1:], default)
        if len(parts) == 1:
            return _attribute(parts[0], default)
    return Node(_or_default(lambda data, _run: lookup(data, parts), default))


def _var_of_flagd(compiler: Compiler, parts: list[str], default: Closure) -> Node:
    """Compile the access to `$flagd`; only its timestamp changes with the time."""
    if parts == ["timestamp"]:
        compiler.analysis.clocks += 1
        return Node(lambda _data, run: run.now, clock=SECONDS)
    if not parts:
        compiler.analysis.clocks += 1
    return Node(_or_default(_flagd_of(compiler.own_key(), parts), default))


def _attribute(name: str, default: Closure) -> Node:
    """Compile the access to one attribute of the context, which is always an object."""
    if default is nothing:
        return Node(lambda data, _run: data.get(name), attribute=name)
    return Node(_or_default(lambda data, _run: data.get(name, MISSING), default))


def _or_default(get: Closure, default: Closure) -> Closure:
    def or_default(data: Any, run: Run) -> Any:
        value = get(data, run)
        return default(data, run) if value is MISSING else value

    return or_default


def _finder(flag_key: str, location: Location) -> Find:
    """Return a function that reads any path, or all data when the path is null or empty."""
    whole = _whole_of(flag_key)

    def find(data: Any, run: Run, path: Any) -> Any:
        if path is None or path == "":
            return data if location.is_scoped else whole(data, run)
        text = to_text(path, run)
        run.spend(len(text) // _SPLIT_PER_STEP)
        parts = text.split(".")
        run.spend(len(parts))
        if parts[0] == _FLAGD and not location.is_scoped:
            return _flagd_of(flag_key, parts[1:])(data, run)
        return lookup(data, parts)

    return find


def _whole_of(flag_key: str) -> Closure:
    def whole(data: Any, run: Run) -> dict[str, Any]:
        run.spend(len(data) // _COPIED_PER_STEP)
        return {**data, _FLAGD: _injected(flag_key, run)}

    return whole


def _flagd_of(flag_key: str, parts: list[str]) -> Closure:
    return lambda _data, run: lookup(_injected(flag_key, run), parts)


def _injected(flag_key: str, run: Run) -> dict[str, Any]:
    return {"flagKey": flag_key, "timestamp": run.now}


def _missing(compiler: Compiler, raw: Any, location: Location, *, some: bool = False) -> Node:
    """Compile `missing`, or `missing_some` whose first argument is the number that suffices."""
    compiler.analysis.lookups += 1
    nodes = compiler.arguments(raw, location)
    runs = runs_of(nodes)
    find = _finder(compiler.own_key(), location)

    def missing(data: Any, run: Run) -> list[Any]:
        values = [closure(data, run) for closure in runs]
        names = values[0] if values and isinstance(values[0], list) else values
        return _absent(find, names, data, run)

    def missing_some(data: Any, run: Run) -> list[Any]:
        values = [closure(data, run) for closure in runs]
        needed, names = (*values, None, None)[:2]
        names = names if isinstance(names, list) else []
        absent = _absent(find, names, data, run)
        return [] if len(names) - len(absent) >= to_number(needed, run) else absent

    closure = missing_some if some else missing
    if all(node.is_literal for node in nodes):
        # Raises RuleError when literal paths need too many steps for any context.
        closure({}, Run({}, 0))
    return Node(closure)


def _absent(find: Find, names: list[Any], data: Any, run: Run) -> list[Any]:
    run.spend(2 * len(names))
    values = ((name, find(data, run, name)) for name in names)
    return [name for name, value in values if value is MISSING or value is None or value == ""]


ACCESS: dict[str, Build] = {
    "var": _var,
    "missing": _missing,
    "missing_some": partial(_missing, some=True),
}
