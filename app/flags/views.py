"""The JSON shapes of usage and of explained evaluations."""

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
