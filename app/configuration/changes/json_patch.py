"""The difference between two JSON values, as a patch (RFC 6902).

Elements of arrays are compared by index. So an element inserted at the front changes every later
one. Such a patch is longer than the shortest, but faster to find and easier to read.
"""

from collections.abc import Iterator
from typing import Any

from app.configuration.changes.models import Content

# Each operation repeats its path, which may be as long as a value.
_PATHS_CHARACTERS_MAX = 64 * 1024
_OPERATION_CHARACTERS = 32


def patch_between(before: Any, after: Any) -> list[dict[str, Any]]:
    """Return the operations that turn the first value into the second.

    When their paths exceed 64 Ki characters, one operation replaces the whole value instead.
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
    """Return whether two values are equal as JSON, where true does not equal 1."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            are_equal(value, after[name]) for name, value in before.items()
        )
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(are_equal, before, after))
    return type(before) is type(after) and bool(before == after)


def have_same_content(before: Content, after: Content) -> bool:
    """Return whether two entries have the same content.

    Secrets are the same only when one is a copy of the other. Two secrets that were written with
    the same value differ: otherwise a token without the scope reveal could guess a secret.
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
        member = f"{path}/{_escaped(name)}"
        if name in after:
            yield from _operations(member, old, after[name])
        else:
            yield {"op": "remove", "path": member}
    for name, new in after.items():
        if name not in before:
            yield {"op": "add", "path": f"{path}/{_escaped(name)}", "value": new}


def _elements(path: str, before: list[Any], after: list[Any]) -> Iterator[dict[str, Any]]:
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        yield from _operations(f"{path}/{index}", old, new)
    for index in range(len(before) - 1, len(after) - 1, -1):
        yield {"op": "remove", "path": f"{path}/{index}"}
    for new in after[len(before) :]:
        yield {"op": "add", "path": f"{path}/-", "value": new}


def _escaped(name: str) -> str:
    """Return a member's name as a reference token of RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
