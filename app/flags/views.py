"""An explained evaluation on the wire: what is asked, and what is answered."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.evaluation.engine import Outcome
from app.evaluation.explain import Step


class EvaluationQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`revision` or `at` ask for the flag as it was; `at` is also the time that its rules see."""

    context: dict[str, Any] = {}
    revision: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class ExplainedEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`steps` are the operators that were run; `is_complete` is false when some were left out."""

    outcome: Outcome
    revision: int
    steps: list[Step]
    is_complete: bool
