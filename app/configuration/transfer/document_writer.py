"""Write entries to a file. Entries that the format cannot represent are left out."""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.documents import VERSION, Format, Whole, WholeEntry
from app.configuration.transfer.env_writer import env_lines, env_values
from app.configuration.transfer.evaluator_document import SCHEMA
from app.configuration.transfer.yaml_schema import DIFFERENT, TYPES, anchored
from app.environments.models import Environment

# Line breaks in YAML 1.1, ordinary characters in YAML 1.2.
_BREAKS = frozenset("\x85\u2028\u2029")


def write_document(
    environment: Environment, entries: Mapping[str, Content], format_: Format
) -> bytes:
    """Return the content of the file, in the order of keys."""
    ordered = dict(sorted(entries.items()))
    match format_:
        case Format.ENV:
            return "".join(env_lines(ordered)).encode()
        case Format.FLAGD:
            return pretty(_flagd(environment, ordered))
        case Format.JSON:
            return pretty(_whole(environment, ordered))
        case Format.YAML:
            return dump_yaml(msgspec.to_builtins(_whole(environment, ordered)))


def left_out(entries: Mapping[str, Content], format_: Format) -> list[str]:
    match format_:
        case Format.ENV:
            values = env_values(entries)
            return [key for key in entries if key not in values]
        case Format.FLAGD:
            kinds = {Kind.FLAG, Kind.SEGMENT}
            return [key for key, content in entries.items() if content.kind not in kinds]
        case Format.JSON | Format.YAML:
            return []


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
    """Return a flagd document: flags, and segments as `$evaluators`."""

    def of(kind: Kind) -> dict[str, Any]:
        return {key: content.value for key, content in entries.items() if content.kind is kind}

    document: dict[str, Any] = {"$schema": SCHEMA, "flags": of(Kind.FLAG)}
    if evaluators := of(Kind.SEGMENT):
        document["$evaluators"] = evaluators
    if environment.metadata:
        document["metadata"] = environment.metadata
    return document


def pretty(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def dump_yaml(document: Any) -> bytes:
    """Return YAML that has the same meaning in versions 1.1 and 1.2."""
    text: bytes = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, encoding="utf-8"
    )
    return text


class _Dumper(yaml.CSafeDumper):
    """libyaml's emitter. It quotes a string that either version would read as another type."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _BREAKS.isdisjoint(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
# Added to PyYAML's resolvers for YAML 1.1, which still apply.
for _tag, _pattern in TYPES:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", anchored(_pattern), None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", anchored(DIFFERENT), None)
