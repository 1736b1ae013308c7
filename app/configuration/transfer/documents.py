"""The content of an imported or exported file, and the file formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

from app.configuration.changes.models import Content, Kind
from app.http.decoder import DEPTH_MAX
from app.names import is_key

FILE_BYTES_MAX = 64 * 1024 * 1024
NODES_MAX = 2_000_000
# Values are three levels below the top of an exported document.
DOCUMENT_DEPTH_MAX = DEPTH_MAX + 3
# The version of exported documents. Raise it when an older release cannot read the format.
VERSION = 1
_NAME_SHOWN = 255


class Format(StrEnum):
    """The file format. JSON and YAML hold all kinds, `.env` settings, flagd flags and segments."""

    JSON = "json"
    YAML = "yaml"
    ENV = "env"
    FLAGD = "flagd"


class Mode(StrEnum):
    """Whether entries that the document does not have stay (merge) or are deleted (replace)."""

    MERGE = "merge"
    REPLACE = "replace"


class ImportOptions(NamedTuple):
    """How to import a file. `secrets` are patterns of names in .env."""

    format: Format
    mode: Mode = Mode.MERGE
    message: str = ""
    secrets: Sequence[str] = ()
    lenient: bool = False
    dry_run: bool = False


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.YAML: "application/yaml",
    Format.ENV: "text/plain",
    Format.FLAGD: "application/json",
}


@dataclass(frozen=True, kw_only=True)
class Document:
    """The entries of a file by key, and warnings about omitted entries.

    `masked` are secrets without a value, as in an export that does not reveal. Stored values stay.
    `kinds` are the kinds that the format can hold: a replacing import deletes no others. `is_whole`
    means that entries have a schema and a description, not only a value. `is_lenient` means that
    flags and segments may break rules of their format. `metadata` is that of the flag set, or None
    when the file has none.
    """

    entries: Mapping[str, Content]
    masked: Mapping[str, Content] = field(default_factory=dict)
    kinds: frozenset[Kind]
    is_whole: bool = False
    is_lenient: bool = False
    metadata: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def shown(name: str) -> str:
    """Return a name from a file for a warning: quoted if it is not a key, and shortened."""
    text = name if is_key(name) else repr(name)
    return text if len(text) <= _NAME_SHOWN else f"{text[:_NAME_SHOWN]}…"


class WholeEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An entry of an exported document. `sealed` marks a secret without its value."""

    kind: Kind
    value: Any
    sealed: bool = False
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """An exported document: the entries of an environment at one revision.

    It has no `fractional` and no `protected`, since these stay with the environment.
    """

    flagstone: int
    environment: str
    revision: int
    epoch: str
    metadata: dict[str, Any]
    entries: dict[str, WholeEntry]
