"""Write entries to a file. Entries that the format cannot represent are left out."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.access.permissions import ALL_KEYS, Keys
from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.documents import VERSION, Format, Whole, WholeEntry
from app.configuration.transfer.env_writer import env_lines, env_values
from app.configuration.transfer.evaluator_document import SCHEMA, plain, without_needs
from app.configuration.transfer.list_inlining import inlined
from app.configuration.transfer.own_rules import own_rules
from app.environments.models import Environment


def write_document(
    environment: Environment,
    entries: Mapping[str, Content],
    format_: Format,
    keys: Keys = ALL_KEYS,
) -> bytes:
    """Return the content of the file, in the order of keys. `keys` are those of the caller."""
    ordered = dict(sorted(entries.items()))
    match format_:
        case Format.ENV:
            return "".join(env_lines(ordered)).encode()
        case Format.FLAGD:
            return pretty(_flagd(environment, own_rules(ordered, keys).entries))
        case Format.JSON:
            return pretty(_whole(environment, ordered))
        case Format.YAML:
            # Few instances write YAML.
            from app.configuration.transfer.yaml_writer import dump_yaml  # noqa: PLC0415

            return dump_yaml(msgspec.to_builtins(_whole(environment, ordered)))


def left_out(
    entries: Mapping[str, Content], format_: Format, environment: Environment
) -> list[str]:
    match format_:
        case Format.ENV:
            values = env_values(entries)
            return [key for key in entries if key not in values]
        case Format.FLAGD:
            kinds = {Kind.FLAG, Kind.SEGMENT}
            others = [key for key, content in entries.items() if content.kind not in kinds]
            written, without_lists = inlined(entries, only_names=True)
            without = without_needs(written, environment.fractional)[1]
            return [*others, *{**without_lists, **without}]
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
    """Return a flagd document: flags, and segments as `$evaluators`.

    Plans become rules. Needed flags are replaced by their rules, and lists by their values. A flag
    for which that is impossible is left out.
    """
    entries = inlined(entries).entries
    flags, _ = without_needs(entries, environment.fractional)
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "flags": {key: plain(flag) for key, flag in flags.items()},
    }
    evaluators = {key: entry.value for key, entry in entries.items() if entry.kind is Kind.SEGMENT}
    if evaluators:
        document["$evaluators"] = evaluators
    if environment.metadata:
        document["metadata"] = environment.metadata
    return document


def pretty(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
