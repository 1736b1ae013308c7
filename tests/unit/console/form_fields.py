"""The fields that a browser sends for a draft."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.console.flag.draft import FlagDraft


def fields_of(draft: FlagDraft) -> Iterator[tuple[str, str]]:
    """Yield the name of each field, as a path, and its value."""
    yield from _fields("", msgspec.to_builtins(draft))


def _fields(path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict | list):
        members = node.items() if isinstance(node, dict) else enumerate(node)
        for name, child in members:
            yield from _fields(f"{path}.{name}" if path else str(name), child)
    else:
        yield path, str(node)
