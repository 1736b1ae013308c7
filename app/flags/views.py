"""The request and answer of an explained evaluation."""

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
