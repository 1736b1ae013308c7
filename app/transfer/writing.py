"""From entries to a file's text: all of it, or what the format can hold and a word on the rest."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from app.changes.models import Content, Kind
from app.environments.models import Environment
from app.transfer.documents import VERSION, Format, Whole, WholeEntry
from app.transfer.evaluators import SCHEMA

# What shells take for a variable's name.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}


def write_document(
    environment: Environment, entries: Mapping[str, Content], format_: Format
) -> bytes:
    """Return the file's content, in the order of the keys."""
    ordered = dict(sorted(entries.items()))
    match format_:
        case Format.ENV:
            return "".join(_env_lines(ordered)).encode()
        case Format.FLAGD:
            return pretty(_flagd(environment, ordered))
        case Format.JSON:
            return pretty(_whole(environment, ordered))
        case Format.YAML:
            whole = msgspec.to_builtins(_whole(environment, ordered))
            text: bytes = yaml.dump(
                whole,
                Dumper=yaml.CSafeDumper,
                sort_keys=False,
                allow_unicode=True,
                encoding="utf-8",
            )
            return text


def _whole(environment: Environment, entries: Mapping[str, Content]) -> Whole:
    return Whole(
        flagstone=VERSION,
        environment=environment.name,
        revision=environment.revision,
        epoch=environment.epoch,
        metadata=environment.metadata,
        entries={
            key: WholeEntry(
                kind=content.kind,
                value=content.value,
                sealed=content.kind is Kind.SECRET and content.value is None,
                schema=content.schema,
                description=content.description,
            )
            for key, content in entries.items()
        },
    )


def _flagd(environment: Environment, entries: Mapping[str, Content]) -> dict[str, Any]:
    """Return flagd's document: its flags, and the segments as `$evaluators`."""

    def of(kind: Kind) -> dict[str, Any]:
        return {key: content.value for key, content in entries.items() if content.kind is kind}

    document: dict[str, Any] = {"$schema": SCHEMA, "flags": of(Kind.FLAG)}
    if evaluators := of(Kind.SEGMENT):
        document["$evaluators"] = evaluators
    if environment.metadata:
        document["metadata"] = environment.metadata
    return document


def pretty(document: object) -> bytes:
    """Return a document as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _env_lines(entries: Mapping[str, Content]) -> Iterator[str]:
    settings = {key: c.value for key, c in entries.items() if c.kind is Kind.SETTING}
    written = {
        key: value
        for key, value in settings.items()
        if _VARIABLE.fullmatch(key) and value is not None and not isinstance(value, dict | list)
    }
    texts = [key for key, value in written.items() if not isinstance(value, str)]
    yield from _remark(
        "Left out, as this format cannot hold them", sorted(entries - written.keys())
    )
    yield from _remark("Not texts, and texts when they are read from here", texts)
    for key, value in written.items():
        yield f"{key}={_quoted(value if isinstance(value, str) else _json(value))}\n"


def _remark(what: str, keys: Sequence[str]) -> Iterator[str]:
    if keys:
        yield f"# {what}: {', '.join(keys)}\n"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _quoted(text: str) -> str:
    """Return a value so that shells and readers of `.env` take it for the same text."""
    if _BARE.fullmatch(text):
        return text
    if not any(character in text for character in "'\\\n\r"):
        return f"'{text}'"
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'
