"""Templates of plans: named steps at hours after a start, in `plan_templates.json`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.errors import invalid
from app.evaluation.plans.instants import text_of
from app.evaluation.plans.plan import number_of, percent_of

_FILE = Path(__file__).with_name("plan_templates.json")


class TemplateStep(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A step that begins `hours` after the start. `hold` is as in the step of a plan."""

    hours: float
    percent: float
    hold: str | int | None = None


class PlanTemplate(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    description: str
    steps: tuple[TemplateStep, ...]
    linear: bool = False


TEMPLATES: Mapping[str, PlanTemplate] = msgspec.json.decode(
    _FILE.read_bytes(), type=dict[str, PlanTemplate]
)


def plan_from(template: str, start: datetime, variant: str) -> dict[str, Any]:
    """Return the plan of a template for a start and a variant. Raises Invalid."""
    chosen = TEMPLATES.get(template)
    if chosen is None:
        raise invalid("template", f"must be one of {', '.join(TEMPLATES)}")
    try:
        steps = [_step(step, start.astimezone(UTC), variant) for step in chosen.steps]
    except OverflowError:
        raise invalid("start", "must leave time for the steps before the year 9999") from None
    plan: dict[str, Any] = {"name": template, "steps": steps}
    return {**plan, "linear": True} if chosen.linear else plan


def _step(step: TemplateStep, start: datetime, variant: str) -> dict[str, Any]:
    at = start + timedelta(hours=step.hours)
    percent = number_of(percent_of(step.percent))
    made = {
        "at": text_of(int(at.timestamp())),
        "rollout": {"variant": variant, "percent": percent},
    }
    return {**made, "hold": step.hold} if step.hold is not None else made
