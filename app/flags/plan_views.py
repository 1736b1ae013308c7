"""The JSON shapes of plans over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from app.configuration.changes.requests import Message


class PlanControl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`step` is the number of the step to skip to. No other action has one."""

    step: Annotated[int, msgspec.Meta(ge=1)] | None = None
    message: Message = ""


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the flag by its plan: a step that begins, or a movement within a step.

    `percent` of the contexts that no rule catches get `variant`; both are null without a rollout.
    """

    at: datetime
    step: int
    begins_step: bool
    state: str
    default_variant: str | None
    variant: str | None
    percent: float | None


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a flag at a time, and the flag's definition at that time.

    `step` is the number of the step in force, 0 before the first. `next_at` is null while it is not
    known when the next step begins. `changes` are all changes whose time is known.
    """

    name: str
    at: datetime
    progress: Literal["waiting", "running", "held", "paused", "done"]
    step: int
    steps: int
    variant: str | None
    percent: float | None
    next_step: int | None
    next_at: datetime | None
    changes_at: datetime | None
    changes: list[PlanChange]
    definition: dict[str, Any]
    version: int
