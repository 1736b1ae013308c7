"""The parts of a draft by their path, such as `rules.0.condition`. Raises LookupError."""

from typing import Any

from app.console.flag.draft import DraftCondition, FlagDraft

_POSITION_MAX = 9_999


def part_at(draft: FlagDraft, path: str, kind: Any) -> Any:
    part: Any = draft
    for name in path.split("."):
        part = part[_index(name)] if isinstance(part, list) else getattr(part, name)
    if isinstance(part, kind):
        return part
    raise LookupError(path)


def place_of(draft: FlagDraft, path: str) -> tuple[list[Any], int]:
    """Return the list that has the part, and its position."""
    parent, _, name = path.rpartition(".")
    items, position = part_at(draft, parent, list), _index(name)
    if position >= len(items):
        raise LookupError(path)
    return items, position


def _index(name: str) -> int:
    if not (name.isascii() and name.isdecimal()) or len(name) > len(str(_POSITION_MAX)):
        raise LookupError(name)
    return int(name)


def replace_at(draft: FlagDraft, path: str, condition: DraftCondition) -> None:
    parent, _, name = path.rpartition(".")
    owner = part_at(draft, parent, object)
    if isinstance(owner, list):
        owner[_index(name)] = condition
    else:
        setattr(owner, name, condition)
