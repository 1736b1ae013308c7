"""Read a flagd document: `flags` become flags, `$evaluators` become segments."""

from typing import Any

from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.documents import Document, shown
from app.errors import invalid, malformed

_KINDS = frozenset({Kind.FLAG, Kind.SEGMENT})
_MEMBERS = {"flags", "$evaluators", "$schema", "metadata"}


def is_flagd(tree: dict[str, Any]) -> bool:
    """Return whether a document is flagd's, and not a file with a setting called flags."""
    flags = tree.get("flags")
    if isinstance(flags, list):
        return bool(flags) and all(
            isinstance(flag, dict) and flag.keys() >= {"key", "variants"} for flag in flags
        )
    return isinstance(flags, dict)


def read_flagd(tree: dict[str, Any], *, lenient: bool) -> Document:
    """Return the document. With `lenient`, invalid flags are left out with a warning."""
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
        # A flagd document without metadata means that the flag set has none.
        metadata=read_metadata(tree.get("metadata", {})),
        warnings=tuple(warnings),
    )


def read_metadata(metadata: Any) -> dict[str, Any]:
    """Return the metadata of a flag set. Raises Malformed."""
    if not isinstance(metadata, dict):
        raise malformed("metadata", "must be an object")
    return metadata


def _from_list(flags: list[Any], warnings: list[str], *, lenient: bool) -> dict[str, Any]:
    """Return the flags of a list, in which each flag has a member `key`."""
    by_key: dict[str, Any] = {}
    for position, flag in enumerate(flags):
        field = f"flags[{position}]"
        key = flag.get("key") if isinstance(flag, dict) else None
        if not isinstance(key, str):
            rule = "must be an object with a key"
            if not lenient:
                raise malformed(field, rule)
            warnings.append(f"{field}: {rule}; it was left out")
            continue
        if key in by_key:
            if not lenient:
                raise malformed(f"{field}.key", "must not be repeated")
            warnings.append(f"{shown(key)}: is repeated at {field}; that one is used")
        by_key[key] = {name: value for name, value in flag.items() if name != "key"}
    return by_key
