"""Generate plans and their flags, and evaluate them at instants."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from app.evaluation.engine import Flag, FlagSet
from app.evaluation.plans.instants import text_of

START = 1_796_115_600
HOUR = 3600
SEGMENTS = {"adult": {">=": [{"var": ["age", 0]}, 18]}}

_IS_ADULT = {"$ref": "adult"}
_IS_PRO = {"==": [{"var": "plan"}, "pro"]}
_SPLIT = {"fractional": [["on", 25], ["off", 75]]}
_TARGETINGS = [
    {},
    {"if": [_IS_PRO, "on"]},
    {"if": [_IS_PRO, "on", "off"]},
    {"if": [_IS_PRO, None, _SPLIT]},
    {"if": [_IS_PRO, "off", {"if": [_IS_ADULT, "on"]}]},
    {"if": [_IS_PRO, "off", _IS_ADULT, "on", {"var": "wish"}]},
    {"if": [_IS_ADULT]},
    {"if": ["off"]},
    _SPLIT,
    {"fractional": [{"var": "plan"}, ["on", 50], ["off", 50]]},
    {"fractional": [["on", 10], [None, 90]]},
    {"var": "wish"},
    {"sem_ver": [{"var": "version"}, ">=", "1.0.0"]},
    {"or": [_IS_PRO, {"in": [{"var": "plan"}, ["free"]]}]},
    {"!": [_IS_PRO]},
]
targetings = st.sampled_from(_TARGETINGS)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": st.sampled_from(["", *(f"user-{number}" for number in range(40))]),
        "plan": st.sampled_from(["pro", "free", "other"]),
        "age": st.integers(10, 30),
        "wish": st.sampled_from(["on", "off", "other"]),
        "version": st.sampled_from(["1.2.3", "0.1.0", "none"]),
    },
)
percents = st.one_of(st.integers(0, 100), st.integers(0, 100_000).map(lambda n: n / 1000))
_steps = st.fixed_dictionaries(
    {"rollout": st.builds(lambda percent: {"variant": "on", "percent": percent}, percents)},
    optional={
        "state": st.sampled_from(["ENABLED", "DISABLED"]),
        "defaultVariant": st.sampled_from(["on", "off", "other", None]),
        "targeting": targetings,
        "hold": st.sampled_from(["approval", 30]),
        "skipped": st.just(True),
    },
)


def planned(steps: list[dict[str, Any]], **members: Any) -> dict[str, Any]:
    """Return a flag whose steps begin a day apart, unless they have instants."""
    plan = {
        "name": "launch",
        "steps": [
            {"at": text_of(START + 24 * HOUR * number), **step} for number, step in enumerate(steps)
        ],
    }
    plan |= {name: members.pop(name) for name in ("linear", "pausedAt") if name in members}
    variants = {"on": "1", "off": "0", "other": "2", "true": "yes", "false": "no"}
    definition = {"state": "ENABLED", "variants": variants, "defaultVariant": "off"}
    return {**definition, **members, "plan": plan}


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Return any flag with a valid plan."""
    optional = {"pausedAt": draw(st.integers(0, 5 * 24).map(lambda h: text_of(START + h * HOUR)))}
    return planned(
        draw(st.lists(_steps, min_size=1, max_size=4)),
        state=draw(st.sampled_from(["ENABLED", "DISABLED"])),
        defaultVariant=draw(st.sampled_from(["on", "off", None])),
        targeting=draw(targetings),
        linear=draw(st.booleans()),
        **(optional if draw(st.booleans()) else {}),
    )


instants = st.integers(START - HOUR, START + 5 * 24 * HOUR)


def variant(
    definition: Mapping[str, Any], context: Mapping[str, Any], now: int, fractional: str = "v3"
) -> str | None:
    """Return the variant that a context gets at an instant; None for the caller's default."""
    flag = Flag("flag", definition, FlagSet(SEGMENTS, fractional, {}))
    outcome = flag.evaluate(context, now).outcome
    return outcome.variant or outcome.error_code
