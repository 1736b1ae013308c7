"""From a file's bytes to a document: strict, and every mistake by name."""

from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import msgspec

from app.changes.models import ENTRIES_MAX, Content, Kind
from app.errors import Invalid, Violation, invalid, malformed
from app.http.decoder import check_nodes, check_value_size, parse, violation_of
from app.naming import KEY_RULE, is_key
from app.transfer.documents import (
    DOCUMENT_DEPTH_MAX,
    FILE_BYTES_MAX,
    NODES_MAX,
    VERSION,
    Document,
    Format,
    WholeEntry,
)
from app.transfer.env_reader import read_bindings
from app.transfer.yaml_loader import load_yaml

_SETTINGS = frozenset({Kind.SETTING})
_FLAGS = frozenset({Kind.FLAG, Kind.SEGMENT})
_ENDINGS = {
    ".json": Format.JSON,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".env": Format.ENV,
}


def format_of(path: Path) -> Format:
    """Return the format that a file's name stands for. Raises Invalid."""
    found = _ENDINGS.get(path.suffix.lower()) or _ENDINGS.get(path.name)
    if found is None:
        raise invalid("file", "must end in .json, .yaml, .yml or .env")
    return found


def read_file(path: Path, format_: Format | None = None) -> Document:
    """Read a file, by default in the format that its name says. Raises as `read_document` does."""
    chosen = format_ or format_of(path)
    # One more than is allowed, so that a longer one is refused and not cut.
    with path.open("rb") as file:
        return read_document(file.read(FILE_BYTES_MAX + 1), chosen)


def read_document(raw: bytes, format_: Format, *, nodes_max: int = NODES_MAX) -> Document:
    """Return the document. Raises Malformed, Invalid or TooLarge that name the key and the rule."""
    if len(raw) > FILE_BYTES_MAX:
        raise invalid("file", f"must not be larger than {FILE_BYTES_MAX} bytes")
    document = _document(raw, format_, nodes_max)
    keys = [*document.entries, *document.masked]
    violations = [Violation(key, KEY_RULE) for key in keys if not is_key(key)]
    if violations:
        raise Invalid("key_invalid", f"{violations[0].field!r}: {KEY_RULE}", violations)
    if len(keys) > ENTRIES_MAX:
        raise invalid("file", f"must not have more than {ENTRIES_MAX} entries")
    for key, content in document.entries.items():
        check_nodes(content.value, root=key)
        check_value_size(content.value, key)
        check_value_size(content.schema, f"{key}.schema")
    return document


def _document(raw: bytes, format_: Format, nodes_max: int) -> Document:
    if format_ is Format.ENV:
        return _from_env(raw)
    tree = _tree(raw, format_, nodes_max)
    if not isinstance(tree, dict):
        raise malformed("file", "must be an object of keys and values")
    if format_ is Format.FLAGD or isinstance(tree.get("flags"), dict):
        return _from_flagd(tree)
    if "flagstone" in tree:
        return _from_whole(tree)
    entries = {key: Content(kind=Kind.SETTING, value=value) for key, value in tree.items()}
    return Document(entries=entries, kinds=_SETTINGS)


def _tree(raw: bytes, format_: Format, nodes_max: int) -> Any:
    if format_ is not Format.YAML:
        # Before anything is built: a value takes a comma, or a bracket of its own.
        if sum(map(raw.count, (b",", b"[", b"{"))) > 2 * nodes_max:
            raise malformed("file", f"must not have more than {nodes_max} values")
        bare = raw.removeprefix(BOM_UTF8)
        return parse(bare, nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX)
    tree = load_yaml(_text(raw), nodes_max=nodes_max)
    check_nodes(tree, nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX, root="file")
    return tree


def _from_env(raw: bytes) -> Document:
    values: dict[str, str | None] = {}
    for binding in read_bindings(_text(raw)):
        if binding.name in values:
            raise malformed("file", f"must not repeat a name; line {binding.line}")
        values[binding.name] = binding.value
    check_nodes(values, nodes_max=NODES_MAX, root="file")
    bare = tuple(
        f"{name} has no = sign and was left out" for name, value in values.items() if value is None
    )
    entries = {
        name: Content(kind=Kind.SETTING, value=value)
        for name, value in values.items()
        if value is not None
    }
    return Document(entries=entries, kinds=_SETTINGS, warnings=bare)


def _from_flagd(tree: dict[str, Any]) -> Document:
    """Read flagd's document: `flags` become flags, `$evaluators` segments."""
    flags, evaluators = tree.get("flags"), tree.get("$evaluators", {})
    if not isinstance(flags, dict):
        raise malformed("flags", "must be an object")
    if not isinstance(evaluators, dict):
        raise malformed("$evaluators", "must be an object")
    if both := sorted(flags.keys() & evaluators.keys()):
        raise invalid(both[0], "must not be the name of a flag and of an evaluator")
    entries = {key: Content(kind=Kind.FLAG, value=value) for key, value in flags.items()}
    entries |= {key: Content(kind=Kind.SEGMENT, value=value) for key, value in evaluators.items()}
    aside = sorted(tree.keys() - {"flags", "$evaluators", "$schema", "metadata"})
    return Document(
        entries=entries,
        kinds=_FLAGS,
        # flagd's way to say that there is none is to leave it out.
        metadata=_metadata(tree.get("metadata", {})),
        warnings=tuple(f"{name} of the document was left aside" for name in aside),
    )


def _from_whole(tree: dict[str, Any]) -> Document:
    """Read a document of our own."""
    if not isinstance(tree.get("entries"), dict):
        raise malformed("entries", "must be an object")
    if tree["flagstone"] != VERSION or isinstance(tree["flagstone"], bool):
        raise invalid("flagstone", f"must be {VERSION}, the version of documents that is known")
    entries: dict[str, Content] = {}
    masked: dict[str, Content] = {}
    violations: list[Violation] = []
    for key, entry in tree["entries"].items():
        try:
            whole = msgspec.convert(entry, WholeEntry)
            if not whole.sealed:
                entries[key] = _content(whole)
            elif whole.kind is Kind.SECRET and whole.value is None:
                masked[key] = _content(whole)
            else:
                rule = "must be of a secret whose value is null"
                violations.append(Violation(f"entries.{key}.sealed", rule))
        except msgspec.ValidationError as error:
            found = violation_of(error)
            violations.append(Violation(f"entries.{key}.{found.field}", found.rule))
    if violations:
        first = violations[0]
        raise Invalid("entries_invalid", f"{first.field}: {first.rule}", violations[:20])
    metadata = _metadata(tree["metadata"]) if "metadata" in tree else None
    return Document(
        entries=entries,
        masked=masked,
        kinds=frozenset(Kind),
        is_whole=True,
        metadata=metadata,
    )


def _metadata(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise malformed("metadata", "must be an object")
    return found


def _content(whole: WholeEntry) -> Content:
    return Content(
        kind=whole.kind, value=whole.value, schema=whole.schema, description=whole.description
    )


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise malformed("file", "must be UTF-8") from None
