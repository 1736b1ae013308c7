"""YAML that readers of version 1.1 and of version 1.2 take for the same."""

from typing import Any

import yaml

from app.configuration.transfer.yaml_schema import DIFFERENT, TYPES, anchored

# YAML 1.1 takes these for line breaks, and YAML 1.2 for letters.
_BREAKS = frozenset("\x85\u2028\u2029")


def dump_yaml(document: Any) -> bytes:
    """Return a document as YAML."""
    text: bytes = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, encoding="utf-8"
    )
    return text


class _Dumper(yaml.CSafeDumper):
    """libyaml's emitter, which puts quotes where a text is something else to one of the versions.

    It does so where a plain scalar resolves to another type than the value has.
    """


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _BREAKS.isdisjoint(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
# Behind PyYAML's own, which follow YAML 1.1: they go on to know what is a number.
for _tag, _pattern in TYPES:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", anchored(_pattern), None)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", anchored(DIFFERENT), None)
