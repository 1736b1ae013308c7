"""The JSON shapes of evaluations, explanations and usage."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.evaluation.engine import Outcome
from app.evaluation.explain import EvaluationStep


class EvaluationQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`revision` or `at` select a past state. `at` is also the current time of time rules."""

    context: dict[str, Any] = {}
    revision: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class ExplainedEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`steps` are the operators that ran. `is_complete` is false when steps are missing."""

    outcome: Outcome
    revision: int
    steps: list[EvaluationStep]
    is_complete: bool


class OutcomeUse(msgspec.Struct, frozen=True, kw_only=True):
    """The count of an outcome of a flag.

    `reason` is that of OFREP, or the error code of a failure. `variant` is cut at 255 characters.
    """

    reason: str
    variant: str | None
    count: int
    last_evaluated_at: datetime


class FlagUse(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of a flag. `remarks` say why it may no longer be needed."""

    key: str
    created_at: datetime
    last_evaluated_at: datetime | None
    count: int
    outcomes: list[OutcomeUse]
    remarks: list[str]


class FlagUsage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[FlagUse]


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`context` may have `targetingKey`, and the attributes that rules read."""

    context: dict[str, Any] = {}


class EventStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The stream of change events. Its URL is a secret."""

    type: str
    url: str
    inactivity_delay_sec: int


class Evaluations(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The outcome of every flag, a success or a failure."""

    flags: list[Outcome]
    metadata: dict[str, Any]
    event_streams: list[EventStream]
