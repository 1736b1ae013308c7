"""Read a file into a document. Errors name the key and the rule."""

from codecs import BOM_UTF8
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import msgspec

from app.configuration.changes.models import ENTRIES_MAX, Content, Kind
from app.configuration.transfer.documents import (
    DOCUMENT_DEPTH_MAX,
    FILE_BYTES_MAX,
    NODES_MAX,
    VERSION,
    Document,
    Format,
    WholeEntry,
    shown,
)
from app.configuration.transfer.env_reader import read_bindings
from app.configuration.transfer.flagd_reader import is_flagd, read_flagd, read_metadata
from app.errors import Invalid, Violation, invalid, malformed
from app.http.decoder import check_nodes, check_value_size, parse, violation_of
from app.http.stepwise import text_of
from app.names import KEY_RULE, is_key

_SETTINGS = frozenset({Kind.SETTING})
_ENDINGS = {
    ".json": Format.JSON,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".env": Format.ENV,
}


def format_of(path: PurePath) -> Format:
    """Return the format of a file by its name. Raises Invalid."""
    name = path.name.lower()
    if name.endswith(".flagd.json"):
        return Format.FLAGD
    if format_ := _ENDINGS.get(path.suffix.lower()):
        return format_
    if name.startswith(".env"):
        return Format.ENV
    raise invalid("file", "must end in .json, .yaml, .yml or .env, or begin with .env")


def read_file(path: Path, format_: Format | None = None, *, lenient: bool = False) -> Document:
    """Read a file. The default format is that of its name. Raises as `read_document` does."""
    chosen = format_ or format_of(path)
    # One byte more than the limit, so that a longer file is refused and not cut.
    with path.open("rb") as file:
        return read_document(file.read(FILE_BYTES_MAX + 1), chosen, lenient=lenient)


def read_document(
    raw: bytes, format_: Format, *, nodes_max: int = NODES_MAX, lenient: bool = False
) -> Document:
    """Return the document. Raises Malformed, Invalid or TooLarge.

    With `lenient`, a key that cannot be stored is left out, and the last of several values with one
    name is used. Both add a warning.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise invalid("file", f"must not be larger than {FILE_BYTES_MAX} bytes")
    document = _document(raw, format_, nodes_max, lenient=lenient)
    keys = [*document.entries, *document.masked]
    violations = [Violation(key, KEY_RULE) for key in keys if not is_key(key)]
    if violations and not lenient:
        raise Invalid("key_invalid", f"{violations[0].field!r}: {KEY_RULE}", violations)
    document = _without(document, violations)
    if len(keys) > ENTRIES_MAX:
        raise invalid("file", f"must not have more than {ENTRIES_MAX} entries")
    for key, content in document.entries.items():
        check_nodes(content.value, root=key)
        check_value_size(content.value, key)
        check_value_size(content.schema, f"{key}.schema")
    return document


def _without(document: Document, violations: list[Violation]) -> Document:
    """Return the document without the invalid keys, with a warning for each."""
    keys = {violation.field for violation in violations}
    return replace(
        document,
        entries={key: entry for key, entry in document.entries.items() if key not in keys},
        masked={key: entry for key, entry in document.masked.items() if key not in keys},
        warnings=document.warnings
        + tuple(
            f"{shown(violation.field)}: {violation.rule}; it was left out"
            for violation in violations
        ),
    )


def _document(raw: bytes, format_: Format, nodes_max: int, *, lenient: bool) -> Document:
    if format_ is Format.ENV:
        return _from_env(raw, lenient=lenient)
    warnings: list[str] = []
    if format_ is Format.YAML:
        # Few instances read YAML.
        from app.configuration.transfer.yaml_loader import load_yaml  # noqa: PLC0415

        tree, warnings = load_yaml(_text(raw), nodes_max=nodes_max)
        check_nodes(tree, nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX, root="file")
    else:
        bare = raw.removeprefix(BOM_UTF8)
        tree = parse(bare, nodes_max=nodes_max, depth_max=DOCUMENT_DEPTH_MAX)
    document = _from_parsed(tree, format_, lenient=lenient)
    return replace(document, warnings=(*document.warnings, *warnings))


def _from_parsed(tree: Any, format_: Format, *, lenient: bool) -> Document:
    if not isinstance(tree, dict):
        raise malformed("file", "must be an object of keys and values")
    if format_ is Format.FLAGD or is_flagd(tree):
        return read_flagd(tree, lenient=lenient)
    if "flagstone" in tree:
        return _from_export(tree)
    entries = {key: Content(kind=Kind.SETTING, value=value) for key, value in tree.items()}
    return Document(entries=entries, kinds=_SETTINGS)


def _from_env(raw: bytes, *, lenient: bool) -> Document:
    values: dict[str, str | None] = {}
    warnings: list[str] = []
    for binding in read_bindings(_text(raw)):
        if binding.name in values:
            if not lenient:
                raise malformed("file", f"must not repeat a name; line {binding.line}")
            warnings.append(
                f"{shown(binding.name)}: is repeated at line {binding.line}; that value is used"
            )
        values[binding.name] = binding.value
    check_nodes(values, nodes_max=NODES_MAX, root="file")
    warnings += [
        f"{shown(name)} has no = sign and was left out"
        for name, value in values.items()
        if value is None
    ]
    entries = {
        name: Content(kind=Kind.SETTING, value=value)
        for name, value in values.items()
        if value is not None
    }
    return Document(entries=entries, kinds=_SETTINGS, warnings=tuple(warnings))


def _from_export(tree: dict[str, Any]) -> Document:
    if not isinstance(tree.get("entries"), dict):
        raise malformed("entries", "must be an object")
    if tree["flagstone"] != VERSION or isinstance(tree["flagstone"], bool):
        raise invalid(
            "flagstone", f"must be {VERSION}, the supported version of exported documents"
        )
    entries: dict[str, Content] = {}
    masked: dict[str, Content] = {}
    violations: list[Violation] = []
    for key, entry in tree["entries"].items():
        try:
            whole = msgspec.convert(entry, WholeEntry)
            if not whole.sealed:
                entries[key] = Content.of(whole)
            elif whole.kind is Kind.SECRET and whole.value is None:
                masked[key] = Content.of(whole)
            else:
                rule = "must be true only for a secret whose value is null"
                violations.append(Violation(f"entries.{key}.sealed", rule))
        except msgspec.ValidationError as error:
            violation = violation_of(error)
            violations.append(Violation(f"entries.{key}.{violation.field}", violation.rule))
    if violations:
        raise Invalid.of("entries_invalid", violations[:20])
    metadata = read_metadata(tree["metadata"]) if "metadata" in tree else None
    return Document(
        entries=entries,
        masked=masked,
        kinds=frozenset(Kind),
        is_whole=True,
        metadata=metadata,
    )


def _text(raw: bytes) -> str:
    try:
        return text_of(raw, "utf-8-sig")
    except UnicodeDecodeError:
        raise malformed("file", "must be UTF-8") from None
