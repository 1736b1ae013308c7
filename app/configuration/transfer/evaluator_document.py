"""The flagd document for evaluators: only the members that flagd defines.

One unexpected part can make an evaluator refuse the whole document. Python's evaluator does so for
an unknown member of a flag, Go's for a default variant that does not exist. So a flag that no
evaluator can load is left out. Needed flags are replaced by their rules.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from app.access.permissions import ALL_KEYS, Keys
from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.list_inlining import inlined
from app.configuration.transfer.own_rules import own_rules
from app.environments.models import Environment
from app.evaluation.inlining import Inliner, NotInlinedError
from app.evaluation.needs import needs_of
from app.evaluation.plans.compiling import without_plan
from app.evaluation.targeting import REFERENCE
from app.evaluation.validation import STATES, check_metadata

# A part of the entity tag. Raise it when the same flags become another document.
FORM = 3
SCHEMA = "https://flagd.dev/schema/v0/flags.json"
# The limit of all copies of segments that replace references.
COPIED_BYTES_MAX = 8 * 1024 * 1024
# Every rule that compiles is less deep.
_DEPTH_MAX = 150

_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")


class EvaluatorDocument(NamedTuple):
    """The document, and why flags are left out, by key."""

    document: dict[str, Any]
    left_out: Mapping[str, str]


def evaluator_document(
    environment: Environment, entries: Mapping[str, Content], keys: Keys = ALL_KEYS
) -> EvaluatorDocument:
    """Return the document. Segments become `$evaluators` without references to others.

    `keys` are those of the caller.
    """
    own = own_rules(entries, keys)
    written, without_lists = inlined(own.entries)
    rules = {key: entry.value for key, entry in written.items() if entry.kind is Kind.SEGMENT}
    segments = _Segments(rules)
    flags, without_needed = without_needs(written, environment.fractional)
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "flags": {
            key: _members(flag, segments)
            for key, value in flags.items()
            if _is_loadable(flag := plain(value))
        },
    }
    if evaluators := segments.evaluators():
        document["$evaluators"] = evaluators
    if environment.metadata:
        document["metadata"] = environment.metadata
    left_out = {**own.left_out, **without_lists, **without_needed}
    of_flags = {key: why for key, why in left_out.items() if entries[key].kind is Kind.FLAG}
    return EvaluatorDocument(document, of_flags)


def without_needs(
    entries: Mapping[str, Content], fractional: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the flags without the flags that they need, and why others are left out.

    The definitions of flags that need no others are returned as they are.
    """
    flags = {key: entry.value for key, entry in entries.items() if entry.kind is Kind.FLAG}
    needing = [key for key, value in flags.items() if any(needs_of(value))]
    if not needing:
        return flags, {}
    rules = {key: entry.value for key, entry in entries.items() if entry.kind is Kind.SEGMENT}
    inliner, left_out, written = Inliner(flags, rules, fractional), {}, dict(flags)
    for key in needing:
        try:
            written[key] = inliner.inlined(key)
        except NotInlinedError as error:
            left_out[key] = str(error)
            del written[key]
    return written, left_out


def plain(flag: Any) -> Any:
    """Return a flag with its plan as a rule."""
    return without_plan(flag) if isinstance(flag, dict) else flag


def _members(flag: dict[str, Any], segments: "_Segments") -> dict[str, Any]:
    known = {name: flag[name] for name in _MEMBERS if name in flag}
    if "targeting" in known:
        known["targeting"] = segments.copied_into(known["targeting"])
    if "metadata" in known:
        # Python's evaluator refuses a document with an empty name.
        known["metadata"] = {name: value for name, value in known["metadata"].items() if name}
    return known


def _is_loadable(flag: Any) -> bool:
    """Return whether evaluators can load the flag, apart from its rule."""
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
    """Segments with copies of other segments in place of references.

    flagd's evaluators replace references only once, so references in a segment would remain.
    Python's cannot insert a segment whose JSON has escapes, so these are copied into the flags.
    References that cannot be replaced remain, and only the flags that use them fail.
    """

    def __init__(self, segments: Mapping[str, Any]) -> None:
        self._segments = segments
        self._expanded: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._escaped: set[str] = set()
        self._uncopied: set[str] = set()
        self._bytes_left = COPIED_BYTES_MAX
        for name in segments:
            self._expand(name, 0, ())

    def evaluators(self) -> dict[str, Any]:
        """Return the segments that references still name."""
        copied = self._escaped - self._uncopied
        return {name: rule for name, rule in self._expanded.items() if name not in copied}

    def copied_into(self, targeting: Any) -> Any:
        """Return a flag's rule with copies of the segments that evaluators cannot insert."""
        if not self._escaped:
            return targeting
        return self._resolved(targeting, self._escaped, 0, ())

    def _expand(self, name: str, depth: int, path: tuple[str, ...]) -> None:
        """Expand the references of a segment, first those of the segments that it refers to."""
        if name in self._expanded or name in path or name not in self._segments:
            return
        expanded = self._resolved(self._segments[name], self._segments, depth, (*path, name))
        text = json.dumps(expanded)
        self._expanded[name], self._sizes[name] = expanded, len(text)
        if "\\" in text:
            self._escaped.add(name)

    def _resolved(
        self, rule: Any, names: Mapping[str, Any] | set[str], depth: int, path: tuple[str, ...]
    ) -> Any:
        if depth > _DEPTH_MAX or not isinstance(rule, dict | list):
            return rule
        if isinstance(rule, list):
            return [self._resolved(part, names, depth + 1, path) for part in rule]
        name = rule.get(REFERENCE)
        if isinstance(name, str) and name in names and len(rule) == 1:
            self._expand(name, depth, path)
            if name not in self._expanded:
                return rule
            if self._sizes[name] > self._bytes_left:
                self._uncopied.add(name)
                return rule
            self._bytes_left -= self._sizes[name]
            return self._expanded[name]
        return {key: self._resolved(part, names, depth + 1, path) for key, part in rule.items()}
