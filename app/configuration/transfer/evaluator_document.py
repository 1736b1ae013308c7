"""flagd's document for evaluators: the members that flagd defines, and nothing of ours.

One part that an evaluator does not expect can cost it every flag: Python's refuses the document for
an unknown member of a flag, and Go's for a default variant that does not exist. So a flag that no
evaluator can load is left out, and fails alone.
"""

import json
from collections.abc import Mapping
from typing import Any

from app.configuration.changes.models import Content, Kind
from app.environments.models import Environment
from app.evaluation.targeting import REFERENCE
from app.evaluation.validation import STATES, check_metadata

# A part of the entity tag: raise it when the same flags become another document.
FORM = 2
SCHEMA = "https://flagd.dev/schema/v0/flags.json"
# Of all segments that are copied into the places that refer to them.
COPIED_BYTES_MAX = 8 * 1024 * 1024
# Of JSON, and more than a rule can have that compiles.
_DEPTH_MAX = 150

_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")


def evaluator_document(environment: Environment, entries: Mapping[str, Content]) -> dict[str, Any]:
    """Return the document. Segments become `$evaluators` that refer to no others."""
    segments = _Segments(
        {key: each.value for key, each in entries.items() if each.kind is Kind.SEGMENT}
    )
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "flags": {
            key: _members(content.value, segments)
            for key, content in entries.items()
            if content.kind is Kind.FLAG and _is_loadable(content.value)
        },
    }
    if evaluators := segments.evaluators():
        document["$evaluators"] = evaluators
    if environment.metadata:
        document["metadata"] = environment.metadata
    return document


def _members(flag: dict[str, Any], segments: "_Segments") -> dict[str, Any]:
    known = {name: flag[name] for name in _MEMBERS if name in flag}
    if "targeting" in known:
        known["targeting"] = segments.copied_into(known["targeting"])
    if "metadata" in known:
        # Python's evaluator refuses the document for an empty name.
        known["metadata"] = {name: each for name, each in known["metadata"].items() if name}
    return known


def _is_loadable(flag: Any) -> bool:
    """Tell whether evaluators can load the flag, whatever its rule is."""
    if not isinstance(flag, dict) or flag.get("state") not in STATES:
        return False
    variants, default = flag.get("variants"), flag.get("defaultVariant")
    if (
        not isinstance(variants, dict)
        or not variants
        or any(check_metadata(flag.get("metadata", {})))
    ):
        return False
    return default is None or (isinstance(default, str) and default in {"", *variants})


class _Segments:
    """Segments with the segments that they refer to in their places.

    flagd's evaluators replace references once: those within a segment would stay. Python's cannot
    replace a reference by a text that JSON escapes, so such segments are copied into the flags.
    References that cannot be replaced stay, and only the flags that use them fail.
    """

    def __init__(self, segments: Mapping[str, Any]) -> None:
        self._segments = segments
        self._whole: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._escaped: set[str] = set()
        self._kept: set[str] = set()
        self._left = COPIED_BYTES_MAX
        for name in segments:
            self._expand(name, 0, ())

    def evaluators(self) -> dict[str, Any]:
        """Return those that a reference may name, and those that there was no room to copy."""
        copied = self._escaped - self._kept
        return {name: each for name, each in self._whole.items() if name not in copied}

    def copied_into(self, targeting: Any) -> Any:
        """Return a flag's rule with copies of the segments that no reference may name."""
        if not self._escaped:
            return targeting
        return self._resolved(targeting, self._escaped, 0, ())

    def _expand(self, name: str, depth: int, within: tuple[str, ...]) -> None:
        """Make a segment whole, and first those that it refers to."""
        if name in self._whole or name in within or name not in self._segments:
            return
        whole = self._resolved(self._segments[name], self._segments, depth, (*within, name))
        text = json.dumps(whole)
        self._whole[name], self._sizes[name] = whole, len(text)
        if "\\" in text:
            self._escaped.add(name)

    def _resolved(
        self, rule: Any, names: Mapping[str, Any] | set[str], depth: int, within: tuple[str, ...]
    ) -> Any:
        if depth > _DEPTH_MAX or not isinstance(rule, dict | list):
            return rule
        if isinstance(rule, list):
            return [self._resolved(each, names, depth + 1, within) for each in rule]
        name = rule.get(REFERENCE)
        if isinstance(name, str) and name in names and len(rule) == 1:
            self._expand(name, depth, within)
            if name not in self._whole:
                return rule
            if self._sizes[name] > self._left:
                self._kept.add(name)
                return rule
            self._left -= self._sizes[name]
            return self._whole[name]
        return {key: self._resolved(each, names, depth + 1, within) for key, each in rule.items()}
