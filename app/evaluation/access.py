"""Operators that look into the data: `var`, `missing`, `missing_some`."""

from typing import Any

from app.evaluation.compiler import (
    MISSING,
    Build,
    Closure,
    Compiler,
    Node,
    Place,
    Run,
    literal,
    runs_of,
)
from app.evaluation.values import to_text

# What flagd adds to every context, whatever the client sent under this name.
_FLAGD = "$flagd"


def lookup(data: Any, path: str, default: Any = None) -> Any:
    """Return what is at a path of names and positions, or the default where nothing is."""
    for part in path.split("."):
        data = _member(data, part)
        if data is MISSING:
            return default
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


def _var(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    path = nodes[0] if nodes else Node(lambda _data, _run: None, literal=None)
    default = nodes[1].run if len(nodes) > 1 else _nothing
    get = _getter(compiler, is_scoped=place.is_scoped)
    if not path.is_literal:
        compiler.uses_time = True  # whatever the path may turn out to be
        return Node(lambda data, run: _or(get(data, run, path.run(data, run)), default, data, run))
    name = path.literal
    if name is None or name == "" or isinstance(name, dict | list | bool):
        compiler.uses_time |= not place.is_scoped
        return Node(lambda data, run: _or(get(data, run, name), default, data, run))
    name = to_text(name)
    if not place.is_scoped and name == f"{_FLAGD}.flagKey":
        return literal(compiler.flag_key)
    if not place.is_scoped and name.split(".", 1)[0] == _FLAGD:
        compiler.uses_time = True
    elif "." not in name and not place.is_scoped:
        return _attribute(name, default)
    return Node(lambda data, run: _or(get(data, run, name), default, data, run))


def _attribute(name: str, default: Closure) -> Node:
    """Return the access to one attribute of the context, which always is an object."""
    if default is _nothing:
        return Node(lambda data, _run: data.get(name), attribute=name)

    def get(data: Any, run: Run) -> Any:
        value = data.get(name, MISSING)
        return default(data, run) if value is MISSING else value

    return Node(get)


def _getter(compiler: Compiler, *, is_scoped: bool) -> Any:
    """Return what finds a path in the data, or everything when that is None or empty."""
    if is_scoped:

        def of_element(data: Any, _run: Run, path: Any) -> Any:
            return data if path is None or path == "" else lookup(data, to_text(path), MISSING)

        return of_element

    def of_context(data: Any, run: Run, path: Any) -> Any:
        if path is None or path == "":
            return _whole(compiler, data, run)
        text = to_text(path)
        if text.split(".", 1)[0] == _FLAGD:
            return lookup(_whole(compiler, {}, run), text, MISSING)
        return lookup(data, text, MISSING)

    return of_context


def _whole(compiler: Compiler, data: dict[str, Any], run: Run) -> dict[str, Any]:
    return {**data, _FLAGD: {"flagKey": compiler.flag_key, "timestamp": run.now}}


def _missing(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))
    get = _getter(compiler, is_scoped=place.is_scoped)

    def missing(data: Any, run: Run) -> list[Any]:
        values = [each(data, run) for each in runs]
        names = values[0] if values and isinstance(values[0], list) else values
        return _those_missing(get, names, data, run)

    return Node(missing)


def _missing_some(compiler: Compiler, raw: Any, place: Place) -> Node:
    runs = runs_of(compiler.arguments(raw, place))
    get = _getter(compiler, is_scoped=place.is_scoped)

    def missing_some(data: Any, run: Run) -> list[Any]:
        values = [each(data, run) for each in runs]
        needed, names = (*values, None, None)[:2]
        names = names if isinstance(names, list) else []
        absent = _those_missing(get, names, data, run)
        enough = isinstance(needed, int | float) and len(names) - len(absent) >= needed
        return [] if enough else absent

    return Node(missing_some)


def _those_missing(get: Any, names: list[Any], data: Any, run: Run) -> list[Any]:
    run.spend(len(names))
    found = ((name, get(data, run, name)) for name in names)
    return [name for name, value in found if value is MISSING or value is None or value == ""]


def _or(value: Any, default: Closure, data: Any, run: Run) -> Any:
    return default(data, run) if value is MISSING else value


def _nothing(_data: Any, _run: Run) -> None:
    return None


ACCESS: dict[str, Build] = {"var": _var, "missing": _missing, "missing_some": _missing_some}
