"""The shapes of OFREP 0.3.0, for its documentation: answers are joined from bytes."""

from typing import Any

import msgspec

from app.evaluation.engine import Outcome


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`context` holds `targetingKey`, if there is one, and whatever else rules look at."""

    context: dict[str, Any] = {}


class EventStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where changes are told. The URL is a secret."""

    type: str
    url: str
    inactivity_delay_sec: int


class Evaluations(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every flag once, each a success or a failure."""

    flags: list[Outcome]
    metadata: dict[str, Any]
    event_streams: list[EventStream]
