"""Who is in a segment, now and after a draft: for typed contexts and for sampled keys.

The preview of the API evaluates a flag that exists only in the draft. Its variants say whether a
context is in the stored segment and in the draft. So both are counted in one pass, and the flags
that use the segment are previewed with it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.configuration.snapshots.snapshot import Snapshot
from app.errors import Invalid, Violation
from app.evaluation.validation import check_segment
from app.flags.preview_views import (
    CONTEXTS_MAX,
    DraftEntry,
    FlagPreview,
    Preview,
    PreviewRequest,
    SampleRequest,
)

# The variants of the flag: in before or not, in after or not.
_STAYS_IN, _ENTERS, _LEAVES, _STAYS_OUT = "stays in", "enters", "leaves", "stays out"
_IN_BEFORE, _IN_AFTER = {_STAYS_IN, _LEAVES}, {_STAYS_IN, _ENTERS}


@dataclass(frozen=True, kw_only=True)
class ContextMembership:
    """A context, and whether it is in now and after the draft. `problem` is an error."""

    context: Mapping[str, Any]
    before: bool
    after: bool
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The contexts and sampled keys that are in, and the flags with other outcomes."""

    contexts: Sequence[ContextMembership]
    keys: int
    keys_before: int
    keys_after: int
    keys_changed: int
    flags: Sequence[FlagPreview]
    flags_count: int
    problem: str = ""


def membership_request(
    snapshot: Snapshot, key: str, value: Any, contexts: Sequence[dict[str, Any]]
) -> tuple[PreviewRequest, str]:
    """Return the request for a preview, and the key of the flag that asks who is in.

    The first context is the base of the sample.
    """
    taken = {*snapshot.entries, key}
    # A caller sees the flags below their own prefixes.
    prefix = snapshot.limits.prefixes[0]
    probe, stored_key = (_free(f"{prefix}{name}", taken) for name in ("who-is-in", "who-was-in"))
    changes: dict[str, DraftEntry | None] = {key: DraftEntry(kind="segment", value=value)}
    stored = snapshot.rules.segments.get(key)
    # An import may have stored a segment that cannot be evaluated.
    has_stored = stored is not None and not check_segment(stored)
    if has_stored:
        changes[stored_key] = DraftEntry(kind="segment", value=stored)
    definition = _probe(key, stored_key if has_stored else None)
    changes[probe] = DraftEntry(kind="flag", value=definition)
    sample = SampleRequest(context=dict(contexts[0]) if contexts else {})
    return PreviewRequest(changes=changes, contexts=list(contexts), sample=sample), probe


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "-"
    return name


def _probe(key: str, stored_key: str | None) -> dict[str, Any]:
    """Return the definition of a flag that compares the stored segment with the draft."""
    is_in = {"and": [{"$ref": key}]}
    branches: list[Any] = [is_in, _ENTERS]
    if stored_key is not None:
        was_in = {"and": [{"$ref": stored_key}]}
        both = {"and": [{"$ref": stored_key}, {"$ref": key}]}
        branches = [both, _STAYS_IN, was_in, _LEAVES, is_in, _ENTERS]
    names = (_STAYS_IN, _ENTERS, _LEAVES, _STAYS_OUT)
    return {
        "state": "ENABLED",
        "variants": {name: name for name in names},
        "defaultVariant": _STAYS_OUT,
        "targeting": {"if": branches},
    }


def membership_of(preview: Preview, probe: str, contexts: Sequence[dict[str, Any]]) -> Membership:
    """Return who is in, from the preview of a `membership_request`."""
    found = next((flag for flag in preview.flags if flag.key == probe), None)
    counts = {} if found is None else {item.after: item.keys for item in found.sample.movements}
    refusal = preview.refusals[0].detail if preview.refusals else ""
    return Membership(
        contexts=[] if found is None else list(_contexts(found, contexts)),
        keys=sum(counts.values()),
        keys_before=sum(count for name, count in counts.items() if name in _IN_BEFORE),
        keys_after=sum(count for name, count in counts.items() if name in _IN_AFTER),
        keys_changed=counts.get(_ENTERS, 0) + counts.get(_LEAVES, 0),
        flags=[flag for flag in preview.flags if flag.key != probe],
        flags_count=preview.flags_count - (found is not None),
        problem=refusal,
    )


def _contexts(
    found: FlagPreview, contexts: Sequence[dict[str, Any]]
) -> Iterator[ContextMembership]:
    for context, outcome in zip(contexts, found.contexts, strict=True):
        after = outcome.after.outcome if outcome.after is not None else None
        variant = after.variant if after is not None else ""
        yield ContextMembership(
            context=context,
            before=variant in _IN_BEFORE,
            after=variant in _IN_AFTER,
            problem=(after.error_details or "") if after is not None else "",
        )


def check_contexts(value: Any) -> list[dict[str, Any]]:
    """Return contexts that were typed as JSON: one object, or a list of objects. Raises Invalid."""
    contexts = value if isinstance(value, list) else [value]
    if not all(isinstance(context, dict) for context in contexts):
        rule = "must be a JSON object, or a list of objects"
        raise Invalid.of("field_invalid", [Violation("contexts", rule)])
    if len(contexts) > CONTEXTS_MAX:
        rule = f"must be at most {CONTEXTS_MAX}"
        raise Invalid.of("field_invalid", [Violation("contexts", rule)])
    return contexts
