"""Say how the definition of a flag or of a segment changed."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, UnsetType

from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced
from app.flags.change_words.conditions import Subject, describe_condition
from app.flags.change_words.guards import describe_guards
from app.flags.change_words.plans import describe_plan
from app.flags.change_words.prerequisites import describe_prerequisites
from app.flags.change_words.sentences import CHANGED, WAS, Part, Sentence, name, sentence
from app.flags.change_words.serving import describe_paths, describe_serving
from app.flags.change_words.values import describe_value, value_text

_WORDED = {"state", "defaultVariant", "targeting", "variants", "metadata", "guards", "plan"}
_WORDED |= {"prerequisites", "offVariant"}


def describe_definition(before: Any, after: Any) -> Iterator[Sentence]:
    """Yield the sentences of a flag, the most important first. Any JSON is accepted."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield from describe_value(("Definition",), before, after)
        return
    yield from describe_serving(before, after)
    yield from describe_prerequisites(before, after)
    yield from _describe_variants(before.get("variants", UNSET), after.get("variants", UNSET))
    yield from describe_metadata(before.get("metadata", UNSET), after.get("metadata", UNSET))
    yield from describe_guards(before.get("guards", UNSET), after.get("guards", UNSET))
    yield from describe_plan(before.get("plan", UNSET), after.get("plan", UNSET))
    for member in sorted((before.keys() | after.keys()) - _WORDED):
        subject = ("Member ", name(member))
        yield from describe_value(subject, before.get(member, UNSET), after.get(member, UNSET))


def describe_segment(key: str, before: Any, after: Any) -> Iterator[Sentence]:
    """Yield the sentences of the condition of a segment."""
    start: tuple[Part, ...] = ("Segment ", name(key))
    subject = Subject(start=start, within=("segment ", name(key)))
    old, new = (
        None if isinstance(t, Advanced) else t.shorthand for t in map(read, (before, after))
    )
    described = list(describe_condition(subject, old, new)) if old and new else []
    yield from described or describe_paths((*start, " ", CHANGED, " at "), before, after)


def describe_metadata(before: Any, after: Any) -> Iterator[Sentence]:
    """Yield the sentences of the metadata of a flag."""
    if not isinstance(before, dict | UnsetType) or not isinstance(after, dict | UnsetType):
        yield from describe_value(("Metadata",), before, after)
        return
    old, new = before or {}, after or {}
    for member in old | new:
        subject = ("Metadata ", name(member))
        yield from describe_value(subject, old.get(member, UNSET), new.get(member, UNSET))
    if not old and not new:
        yield from describe_value(("Metadata",), before, after)


def _describe_variants(before: Any, after: Any) -> Iterator[Sentence]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield from describe_value(("Variants",), before, after)
        return
    for variant, value in after.items():
        if variant in before:
            yield from describe_value(("Value of variant ", name(variant)), before[variant], value)
        else:
            text = "" if value == variant else f" with the value {value_text(value)}"
            yield sentence("Variant ", name(variant), " ", WAS, " added", text)
    for variant in before:
        if variant not in after:
            yield sentence("Variant ", name(variant), " ", WAS, " removed")
