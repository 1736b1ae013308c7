"""The JSON shapes of previews."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from app.configuration.changes.requests import OPERATIONS_MAX, Key
from app.evaluation.explain import Explanation
from app.flags.sampling import SAMPLE_KEYS
from app.http.problems import FieldProblem

CONTEXTS_MAX = 20


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request's body. Subclasses inherit these options."""


class DraftEntry(_Request, frozen=True, kw_only=True):
    """An entry as a write would store it, but not stored."""

    value: Any
    kind: Literal["setting", "flag", "segment"] = "setting"
    schema: dict[str, Any] | None = None
    description: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None


class SampleRequest(_Request, frozen=True, kw_only=True):
    """The sampled contexts: `context` with another value of an attribute in each.

    Without `attribute`, the targeting key varies, and each attribute that a split of the flag uses
    and `context` lacks.
    """

    keys: Annotated[int, msgspec.Meta(ge=0, le=SAMPLE_KEYS)] = SAMPLE_KEYS
    context: dict[str, Any] = {}
    attribute: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class PreviewRequest(_Request, frozen=True, kw_only=True):
    """Changes that are not stored, and the contexts to evaluate. A null change deletes the key.

    `at` is the time of the evaluation, by default the current time.
    """

    changes: Annotated[
        dict[Key, DraftEntry | None], msgspec.Meta(min_length=1, max_length=OPERATIONS_MAX)
    ]
    contexts: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=CONTEXTS_MAX)] = []
    sample: SampleRequest = msgspec.field(default_factory=SampleRequest)
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The error that a write of the draft would get. `key` is null if it concerns several."""

    key: str | None
    code: str
    detail: str
    errors: list[FieldProblem]


class ContextPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for a context now and after the draft. Null where the flag does not exist."""

    before: Explanation | None
    after: Explanation | None
    changed: bool


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """The number of sampled keys that get one variant now and one after the draft.

    An outcome without a variant has its error code or reason. `changed` is true if variant or value
    differ.
    """

    before: str
    after: str
    keys: int
    changed: bool


class SamplePreview(msgspec.Struct, frozen=True, kw_only=True):
    """The sampled keys that were evaluated, and how many of them change."""

    keys: int
    changed: int
    attributes: list[str]
    movements: list[Movement]


class GuardPreview(msgspec.Struct, frozen=True, kw_only=True):
    """A guard under the draft: the variant that it must get, and the one that it gets."""

    position: int
    name: str
    variant: str | None
    actual: str | None
    holds: bool


class FlagPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of the draft on one flag. `contexts` have the order of the request."""

    key: str
    contexts: list[ContextPreview]
    sample: SamplePreview
    guards: list[GuardPreview]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a draft. `flags` has the affected flags, those of the draft first.

    A refused draft has no flags, unless only guards refuse it. `is_complete` is false if the time
    did not suffice: then flags or sampled keys are missing.
    """

    revision: int
    refusals: list[Refusal]
    flags: list[FlagPreview]
    flags_count: int
    is_complete: bool
