"""The types of OFREP 0.3.0 for the API documentation. Answers are joined from bytes."""

from typing import Any

import msgspec

from app.evaluation.engine import Outcome


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
