"""The difference between two JSON values, as a patch by RFC 6902.

Members of objects are compared by name, elements of arrays by place: an element that is put in at
the front shows as a change of every later one. That is larger than the shortest patch, and quicker
to find and to read.
"""

from collections.abc import Iterator
from typing import Any

from app.configuration.changes.models import Content

# Each operation repeats the path to its place, and a path may be as long as a value.
_PATHS_CHARACTERS_MAX = 64 * 1024
_OPERATION_CHARACTERS = 32


def patch_between(before: Any, after: Any) -> list[dict[str, Any]]:
    """Return the operations that make the first value into the second; none when they are equal.

    Many operations, or ones with long paths, become one that replaces the whole value.
    """
    operations: list[dict[str, Any]] = []
    size = 0
    for operation in _operations("", before, after):
        operations.append(operation)
        size += len(operation["path"]) + _OPERATION_CHARACTERS
        if size > _PATHS_CHARACTERS_MAX:
            return [{"op": "replace", "path": "", "value": after}]
    return operations


def are_equal(before: Any, after: Any) -> bool:
    """Tell whether two values are the same JSON; unlike Python, where True equals 1."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            are_equal(value, after[name]) for name, value in before.items()
        )
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(are_equal, before, after))
    return type(before) is type(after) and bool(before == after)


def have_same_content(before: Content, after: Content) -> bool:
    """Tell whether two entries hold the same, their versions aside.

    Secrets are the same when one is a copy of the other. Two that were written are not, even with
    one value: whoever may write but not reveal could find a secret by guessing, otherwise.
    """
    return (
        before.kind is after.kind
        and before.description == after.description
        and _commitment(before) == _commitment(after)
        and are_equal(before.value, after.value)
        and are_equal(before.schema, after.schema)
    )


def _commitment(content: Content) -> bytes | None:
    return content.sealed.commitment if content.sealed is not None else None


def _operations(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _members(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _elements(path, before, after)
    elif type(before) is not type(after) or before != after:
        yield {"op": "replace", "path": path, "value": after}


def _members(path: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, old in before.items():
        place = f"{path}/{_escaped(name)}"
        if name in after:
            yield from _operations(place, old, after[name])
        else:
            yield {"op": "remove", "path": place}
    for name, new in after.items():
        if name not in before:
            yield {"op": "add", "path": f"{path}/{_escaped(name)}", "value": new}


def _elements(path: str, before: list[Any], after: list[Any]) -> Iterator[dict[str, Any]]:
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        yield from _operations(f"{path}/{place}", old, new)
    for place in range(len(before) - 1, len(after) - 1, -1):
        yield {"op": "remove", "path": f"{path}/{place}"}
    for new in after[len(before) :]:
        yield {"op": "add", "path": f"{path}/-", "value": new}


def _escaped(name: str) -> str:
    """Return a member's name as a reference token of RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
