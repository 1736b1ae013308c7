"""Write YAML that has the same meaning in versions 1.1 and 1.2."""

from typing import Any

import yaml

from app.configuration.transfer.yaml_schema import DIFFERENT, TYPES, anchored

# Line breaks in YAML 1.1, ordinary characters in YAML 1.2.
_BREAKS = frozenset("\x85\u2028\u2029")


def dump_yaml(document: Any) -> bytes:
    """Return a document of JSON types as YAML."""
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
