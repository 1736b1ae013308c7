"""Check the plan of a flag, and convert its instants to the form in which they are stored."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.errors import Violation
from app.evaluation.plans import instants
from app.evaluation.plans.plan import (
    APPROVAL,
    DECIMALS_MAX,
    HOLD_MINUTES_MAX,
    PLAN,
    STEPS_MAX,
    percent_of,
    read_plan,
)

NAME_MAX = 100
_STATES = ("ENABLED", "DISABLED")
_MEMBERS = ("name", "steps", "linear", "pausedAt")
_EFFECTS = ("state", "defaultVariant", "rollout", "targeting")
_STEP_MEMBERS = ("at", *_EFFECTS, "hold", "skipped", "resumed")

Violations = Iterator[Violation]
# Checks a targeting at a path.
CheckTargeting = Callable[[Any, str], Violations]


def check_plan(plan: Any, variants: set[str], check_targeting: CheckTargeting) -> Violations:
    """Yield the violations of a plan. Without `variants`, any name of a variant passes."""
    if not isinstance(plan, dict):
        yield Violation(PLAN, "must be an object")
        return
    yield from _check_members(plan, _MEMBERS, PLAN)
    name = plan.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
        yield Violation(f"{PLAN}.name", f"must be a string of 1 to {NAME_MAX} characters")
    if not isinstance(plan.get("linear", False), bool):
        yield Violation(f"{PLAN}.linear", "must be true or false")
    if "pausedAt" in plan:
        yield from _check_instant(plan["pausedAt"], f"{PLAN}.pausedAt")
    steps = plan.get("steps")
    if not isinstance(steps, list) or not 1 <= len(steps) <= STEPS_MAX:
        yield Violation(f"{PLAN}.steps", f"must be a list of 1 to {STEPS_MAX} steps")
        return
    for position, step in enumerate(steps):
        yield from _check_step(step, f"{PLAN}.steps[{position}]", variants, check_targeting)
    yield from _check_order(steps)


def in_stored_form(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a definition whose plan has its instants in UTC."""
    plan = definition.get(PLAN)
    if plan is None or read_plan(definition) is None:
        return definition
    stored = {**plan, "steps": [_stored_step(step) for step in plan["steps"]]}
    if plan.get("pausedAt") is not None:
        stored["pausedAt"] = _stored(plan["pausedAt"])
    return {**definition, PLAN: stored}


def _stored_step(step: Mapping[str, Any]) -> dict[str, Any]:
    stored = {**step, "at": _stored(step["at"])}
    if step.get("resumed") is not None:
        stored["resumed"] = {**step["resumed"], "at": _stored(step["resumed"]["at"])}
    return stored


def _stored(instant: str) -> str:
    return instants.text_of(instants.parse(instant))


def _check_step(
    step: Any, path: str, variants: set[str], check_targeting: CheckTargeting
) -> Violations:
    if not isinstance(step, dict):
        yield Violation(path, "must be an object")
        return
    yield from _check_members(step, _STEP_MEMBERS, path)
    yield from _check_instant(step.get("at"), f"{path}.at")
    if not any(name in step for name in _EFFECTS):
        yield Violation(path, f"must have at least one of {', '.join(_EFFECTS)}")
    if step.get("state", _STATES[0]) not in _STATES:
        yield Violation(f"{path}.state", f"must be {' or '.join(_STATES)}")
    default = step.get("defaultVariant")
    if default is not None and not _is_variant(default, variants):
        yield Violation(f"{path}.defaultVariant", "must be the name of a variant, or null")
    if "rollout" in step:
        yield from _check_rollout(step["rollout"], f"{path}.rollout", variants)
    if "targeting" in step:
        yield from check_targeting(step["targeting"], f"{path}.targeting")
    yield from _check_hold(step.get("hold"), f"{path}.hold")
    if step.get("skipped", True) is not True:
        yield Violation(f"{path}.skipped", "must be true, or absent")
    if "resumed" in step:
        yield from _check_resumption(step["resumed"], f"{path}.resumed")


def _check_members(value: dict[str, Any], names: tuple[str, ...], path: str) -> Violations:
    for name in sorted(value.keys() - set(names)):
        yield Violation(f"{path}.{name}", f"is not one of {', '.join(names)}")


def _check_instant(instant: Any, path: str) -> Violations:
    try:
        instants.parse(instant)
    except instants.InstantError as error:
        yield Violation(path, str(error))


def _check_rollout(rollout: Any, path: str, variants: set[str]) -> Violations:
    if not isinstance(rollout, dict):
        yield Violation(path, "must be an object with variant and percent")
        return
    yield from _check_members(rollout, ("variant", "percent"), path)
    if not _is_variant(rollout.get("variant"), variants):
        yield Violation(f"{path}.variant", "must be the name of a variant")
    yield from _check_percent(rollout.get("percent"), f"{path}.percent")


def _check_percent(percent: Any, path: str) -> Violations:
    is_number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not is_number or not 0 <= percent <= 100:
        yield Violation(path, "must be a number from 0 to 100")
    elif percent_of(percent) != round(percent_of(percent), DECIMALS_MAX):
        yield Violation(path, f"must have at most {DECIMALS_MAX} decimal places")


def _check_hold(hold: Any, path: str) -> Violations:
    if hold is None or hold == APPROVAL:
        return
    if type(hold) is not int or not 1 <= hold <= HOLD_MINUTES_MAX:
        rule = f'must be "{APPROVAL}", or a number of minutes from 1 to {HOLD_MINUTES_MAX}'
        yield Violation(path, rule)


def _check_resumption(resumed: Any, path: str) -> Violations:
    if not isinstance(resumed, dict):
        yield Violation(path, "must be an object with at and percent")
        return
    yield from _check_members(resumed, ("at", "percent"), path)
    yield from _check_instant(resumed.get("at"), f"{path}.at")
    yield from _check_percent(resumed.get("percent"), f"{path}.percent")


def _is_variant(name: Any, variants: set[str]) -> bool:
    return isinstance(name, str) and (name in variants or not variants)


def _check_order(steps: list[Any]) -> Violations:
    """Check that each step begins after the one before it. Skipped steps do not begin."""
    number_before, before = 0, -1
    for position, step in enumerate(steps):
        if not isinstance(step, dict) or step.get("skipped"):
            continue
        try:
            at = instants.parse(step.get("at"))
        except instants.InstantError:
            continue
        if at == before:
            rule = f"must not be the instant at which step {number_before} begins"
            yield Violation(f"{PLAN}.steps[{position}].at", rule)
        elif at < before:
            when = instants.text_of(before)
            rule = f"must be after step {number_before}, which begins at {when}"
            yield Violation(f"{PLAN}.steps[{position}].at", rule)
        hold = step.get("hold")
        number_before, before = position + 1, at + 60 * (hold if type(hold) is int else 0)
