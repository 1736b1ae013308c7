"""flagd's document: `flags` become flags, `$evaluators` segments."""

from typing import Any

from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.documents import Document, shown
from app.errors import invalid, malformed

_KINDS = frozenset({Kind.FLAG, Kind.SEGMENT})
_MEMBERS = {"flags", "$evaluators", "$schema", "metadata"}


def is_flagd(tree: dict[str, Any]) -> bool:
    """Tell whether a tree is flagd's document, and not a file with a setting called flags."""
    flags = tree.get("flags")
    if isinstance(flags, list):
        return bool(flags) and all(
            isinstance(flag, dict) and flag.keys() >= {"key", "variants"} for flag in flags
        )
    return isinstance(flags, dict)


def read_flagd(tree: dict[str, Any], *, lenient: bool) -> Document:
    """Return the document. A lenient caller gets warnings for flags that had to be left out."""
    warnings: list[str] = []
    flags, evaluators = tree.get("flags"), tree.get("$evaluators", {})
    if isinstance(flags, list):
        flags = _from_list(flags, warnings, lenient=lenient)
    if not isinstance(flags, dict):
        raise malformed("flags", "must be an object, or a list of flags with their keys")
    if not isinstance(evaluators, dict):
        raise malformed("$evaluators", "must be an object")
    for key in sorted(flags.keys() & evaluators.keys()):
        rule = "must not be the name of a flag and of an evaluator"
        if not lenient:
            raise invalid(key, rule)
        warnings.append(f"{shown(key)}: {rule}; the evaluator was left out")
    entries = {key: Content(kind=Kind.SEGMENT, value=value) for key, value in evaluators.items()}
    entries |= {key: Content(kind=Kind.FLAG, value=value) for key, value in flags.items()}
    warnings += [
        f"{shown(name)} of the document was left out" for name in sorted(tree.keys() - _MEMBERS)
    ]
    return Document(
        entries=entries,
        kinds=_KINDS,
        # flagd's way to say that there is none is to leave it out.
        metadata=read_metadata(tree.get("metadata", {})),
        warnings=tuple(warnings),
    )


def read_metadata(found: Any) -> dict[str, Any]:
    """Return the metadata of a flag set. Raises Malformed."""
    if not isinstance(found, dict):
        raise malformed("metadata", "must be an object")
    return found


def _from_list(flags: list[Any], warnings: list[str], *, lenient: bool) -> dict[str, Any]:
    """Return the flags of flagd's other form, in which each says its key."""
    found: dict[str, Any] = {}
    for position, flag in enumerate(flags):
        place = f"flags[{position}]"
        key = flag.get("key") if isinstance(flag, dict) else None
        if not isinstance(key, str):
            rule = "must be an object with a key"
            if not lenient:
                raise malformed(place, rule)
            warnings.append(f"{place}: {rule}; it was left out")
            continue
        if key in found:
            if not lenient:
                raise malformed(f"{place}.key", "must not be repeated")
            warnings.append(f"{shown(key)}: is repeated at {place}, which holds")
        found[key] = {name: value for name, value in flag.items() if name != "key"}
    return found
