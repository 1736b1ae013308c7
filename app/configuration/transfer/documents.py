"""A file's worth of configurations, and the formats that it comes in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from app.configuration.changes.models import Content, Kind
from app.http.decoder import DEPTH_MAX
from app.names import is_key

FILE_BYTES_MAX = 64 * 1024 * 1024
NODES_MAX = 2_000_000
# Of a value, which our own documents hold three levels below their top.
DOCUMENT_DEPTH_MAX = DEPTH_MAX + 3
# Of our own documents; it goes up when an older release could not read what a newer one writes.
VERSION = 1
_NAME_SHOWN = 255


class Format(StrEnum):
    """JSON and YAML hold everything; `.env` holds settings that are texts, flagd's holds flags."""

    JSON = "json"
    YAML = "yaml"
    ENV = "env"
    FLAGD = "flagd"


class Mode(StrEnum):
    """What becomes of entries that a document does not have: they stay, or they go."""

    MERGE = "merge"
    REPLACE = "replace"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.YAML: "application/yaml",
    Format.ENV: "text/plain",
    Format.FLAGD: "application/json",
}


@dataclass(frozen=True, kw_only=True)
class Document:
    """The entries of a file, by key, and what in it was left aside.

    `masked` are secrets without their value, as an export has them that does not reveal: what is
    there stays.

    `kinds` are those that such a file can hold: no others go when it replaces what is there.
    `is_whole` tells that each entry comes with its schema and description, and not with a value
    alone; `is_lenient` that flags and segments may break rules of their format. `metadata` is that
    of the flag set, None in a file that says nothing of it.
    """

    entries: Mapping[str, Content]
    masked: Mapping[str, Content] = field(default_factory=dict)
    kinds: frozenset[Kind]
    is_whole: bool = False
    is_lenient: bool = False
    metadata: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def shown(name: str) -> str:
    """Return a name from a file for a warning: quoted if it is no key, and of bounded length."""
    text = name if is_key(name) else repr(name)
    return text if len(text) <= _NAME_SHOWN else f"{text[:_NAME_SHOWN]}…"


class WholeEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An entry of our own documents; `sealed` is a secret without its value."""

    kind: Kind
    value: Any
    sealed: bool = False
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Our own document: what an environment holds, and which moment of it.

    How it buckets and whether it is protected are the environment's own, and never carried over.
    """

    flagstone: int
    environment: str
    revision: int
    epoch: str
    metadata: dict[str, Any]
    entries: dict[str, WholeEntry]
