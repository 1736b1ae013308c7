"""The fields of the plan's editor, and the plan that they describe.

A step that was not edited is written as its `source`, so saving without an edit changes nothing.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from app.console.flag.values import decode, encode, parse_value
from app.console.forms import FormErrors
from app.console.state import with_zone
from app.errors import AppError
from app.evaluation.plans.plan import PLAN, read_plan

Plan = dict[str, Any]

HOLDS = {"": "at this time", "approval": "after an approval", "minutes": "later, by"}
# A default of null: no name of a variant has a quote.
NO_DEFAULT = '"null"'
# The members of a step that have a field.
_FIELDS = ("at", "state", "defaultVariant", "rollout", "hold")
# The path of a part of a step in the API, after `value` or a key, and its fields here.
_STEP = re.compile(r"(?:.*?\.)?plan\.steps\[([0-9]+)\](?:\.(\w+)(?:\.(\w+))?)?.*")
_PLAN = re.compile(r"(?:.*?\.)?plan(?:\.(\w+))?.*")
_NAMES = {"defaultVariant": "default", "rollout": "percent"}


class DraftStep(msgspec.Struct, kw_only=True):
    """One step. `at` is RFC 3339. A step without a percentage leaves that of the step before."""

    at: str = ""
    percent: str = ""
    variant: str = ""
    state: Literal["", "ENABLED", "DISABLED"] = ""
    default: str = ""
    hold: Literal["", "approval", "minutes"] = ""
    minutes: str = ""
    source: str = ""

    @property
    def has_targeting(self) -> bool:
        """Return whether the step replaces the targeting, for which the editor has no field."""
        return "targeting" in _object(self.source)


class PlanDraft(msgspec.Struct, kw_only=True):
    """The form. `version` is the version of the flag on which the draft is based.

    `rest` has the members of the plan without a field, as JSON. A template makes the steps from
    `start` and `variant`.
    """

    version: int = 0
    name: str = ""
    linear: bool = False
    steps: list[DraftStep] = []
    rest: str = "{}"
    template: str = ""
    start: str = ""
    variant: str = ""
    message: str = ""


def draft_of(definition: Any, version: int) -> PlanDraft:
    """Return the draft of a flag's plan without an edit, an empty one for a flag without a plan."""
    is_readable = isinstance(definition, dict) and read_plan(definition) is not None
    plan: Plan = definition[PLAN] if is_readable else {}
    rest = {name: value for name, value in plan.items() if name not in ("name", "steps")}
    return PlanDraft(
        version=version,
        name=str(plan.get("name", "")),
        linear=plan.get("linear") is True,
        steps=[draft_step(step) for step in plan.get("steps", [])],
        variant=_growing_variant(definition),
        rest=encode(rest),
    )


def _growing_variant(definition: Any) -> str:
    """Return the variant that a template lets grow: the only true one, or else the last."""
    variants = definition.get("variants") if isinstance(definition, dict) else None
    if not isinstance(variants, dict) or not variants:
        return ""
    true: list[str] = [name for name, value in variants.items() if value is True]
    return true[0] if true else str(list(variants)[-1])


def draft_step(step: Mapping[str, Any]) -> DraftStep:
    rollout, hold = step.get("rollout") or {}, step.get("hold")
    return DraftStep(
        at=step.get("at", ""),
        percent=encode(rollout["percent"]) if "percent" in rollout else "",
        variant=rollout.get("variant", ""),
        state=step.get("state", ""),
        default=(step["defaultVariant"] or NO_DEFAULT) if "defaultVariant" in step else "",
        hold="" if hold is None else "approval" if hold == "approval" else "minutes",
        minutes=encode(hold) if isinstance(hold, int) else "",
        source=encode(step),
    )


def plan_of(draft: PlanDraft) -> Plan:
    """Return the plan of a draft, valid or not: the checks of the API name the wrong fields."""
    rest = _object(draft.rest)
    if draft.linear or rest.get("linear"):
        rest["linear"] = draft.linear
    return {"name": draft.name, "steps": [_step_of(step) for step in draft.steps], **rest}


def _step_of(step: DraftStep) -> Plan:
    source, members = _object(step.source), dict(_members(step))
    if source and members == dict(_members(draft_step(source))):
        return source
    rest = {name: value for name, value in source.items() if name not in _FIELDS}
    return {**members, **rest}


def _members(step: DraftStep) -> Iterator[tuple[str, Any]]:
    yield "at", with_zone(step.at)
    if step.state:
        yield "state", step.state
    if step.default:
        yield "defaultVariant", None if step.default == NO_DEFAULT else step.default
    if step.percent.strip():
        yield "rollout", {"variant": step.variant, "percent": _number(step.percent)}
    if step.hold:
        yield "hold", step.hold if step.hold == "approval" else _number(step.minutes)


def errors_of(error: AppError) -> FormErrors:
    """Return the errors of the API beside the fields of the editor, such as `steps.1.percent`."""
    errors = FormErrors.of(error)
    moved: dict[str, list[str]] = {}
    for path, rules in errors.by_field.items():
        moved.setdefault(_field_of(path), []).extend(rules)
    return FormErrors(errors.message, moved)


def _field_of(path: str) -> str:
    if match := _STEP.fullmatch(path):
        position, name, inner = match.groups()
        field = inner if inner in ("percent", "variant") else _NAMES.get(name, name)
        return f"steps.{position}.{field}" if field else f"steps.{position}"
    if match := _PLAN.fullmatch(path):
        return match[1] or "steps"
    return path


def _number(text: str) -> Any:
    """Return a number, or the text itself, which the checks refuse."""
    try:
        return parse_value("number", text.replace("%", ""))
    except ValueError:
        return text


def _object(text: str) -> Plan:
    value = decode(text) if text else None
    return value if isinstance(value, dict) else {}
