"""Read a draft from the fields of a form, named by path (`rules.0.condition.operator`)."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from app.console.flag.draft import FlagDraft
from app.errors import malformed

Draft = TypeVar("Draft")
# A name of a field: names of members and positions, with dots between.
_NAME = re.compile(r"[a-z]+(?:\.(?:[a-z]+|[0-9]{1,4}))*")
# The deepest targeting that is stored has 64 levels; each group adds two parts to a name.
_PARTS_MAX = 200


def parse(fields: Iterable[tuple[str, str]]) -> FlagDraft:
    """Return the draft of a flag in the fields of a form, as `parse_as`."""
    return parse_as(fields, FlagDraft)


def parse_as(fields: Iterable[tuple[str, str]], kind: type[Draft]) -> Draft:
    """Return the draft in the fields of a form; other fields are ignored. Raises Malformed."""
    tree: dict[str, Any] = {}
    for name, text in fields:
        if _NAME.fullmatch(name):
            _put(tree, name, text)
    try:
        return msgspec.convert(_with_lists(tree), kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise malformed("form", f"does not have the fields of this page: {error}") from None


def _put(tree: dict[str, Any], name: str, text: str) -> None:
    *parents, last = name.split(".")
    if len(parents) >= _PARTS_MAX:
        raise malformed("form", f"must not have names of more than {_PARTS_MAX} parts")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise malformed("form", f"must not have the field {part} and fields below it")
    tree[last] = text


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(name.isdecimal() for name in node):
        # In the order of the fields: a person may have dragged an item to another place.
        return [_with_lists(item) for item in node.values()]
    return {name: _with_lists(child) for name, child in node.items()}
