"""Compare a compiled plan with the definitions of single instants, and with flagd's evaluator."""

import logging
import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from app.evaluation.body_block import BodyBlock
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.plans import control
from app.evaluation.plans.compiling import definition_at, without_plan
from app.evaluation.plans.instants import parse, text_of
from app.evaluation.plans.periods import periods
from app.evaluation.plans.plan import read_plan
from app.evaluation.plans.status import status_of
from app.evaluation.ruleset import Rule, Ruleset
from app.evaluation.run import Run
from app.evaluation.validation import check_flag, compile_violation
from tests.examples import examples
from tests.unit.evaluation.plans.plans import (
    HOUR,
    SEGMENTS,
    START,
    contexts,
    definitions,
    instants,
    percents,
    planned,
    targetings,
    variant,
)

DAY = 24 * HOUR


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    """flagd-core logs an error for each split without a key."""
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)


KEYS = [f"user-{number}" for number in range(200)]


def theirs(core: FlagdCore, context: dict[str, Any]) -> str | None:
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    user = EvaluationContext(context.get("targetingKey"), attributes)
    try:
        return core.resolve_string_value("flag", "default", user).variant
    except OpenFeatureError as error:
        return str(error.error_code.value)


def bodies_of(portion: BodyBlock | list[bytes]) -> Sequence[bytes]:
    return portion.bodies if isinstance(portion, BodyBlock) else portion


def core_of(definition: dict[str, Any]) -> FlagdCore:
    core = FlagdCore()
    plain = {**without_plan(definition)}
    core.set_flags(deepcopy({"flags": {"flag": plain}, "$evaluators": SEGMENTS}))
    return core


@pytest.mark.slow
@given(definition=definitions(), context=contexts, now=instants)
@hypothesis_settings(max_examples=examples(400), deadline=None)
def test_compiled_plan_equals_definition_at_any_instant(
    definition: dict[str, Any], context: dict[str, Any], now: int
) -> None:
    at_instant = definition_at(definition, now)

    assert variant(definition, context, now) == variant(at_instant, context, now)


@pytest.mark.slow
@given(definition=definitions(), context=contexts, now=instants)
@hypothesis_settings(max_examples=examples(160), deadline=None)
def test_compiled_plan_equals_flagd_core(
    definition: dict[str, Any], context: dict[str, Any], now: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: float(now))
        expected = theirs(core_of(definition), context)

    assert variant(definition, context, now) == expected


@given(definition=definitions())
@hypothesis_settings(max_examples=examples(200), deadline=None)
def test_generated_plan_compiles(definition: dict[str, Any]) -> None:
    assert [v for v in check_flag(definition) if "targeting" not in v.field] == []
    assert compile_violation("flag", without_plan(definition).get("targeting"), SEGMENTS) is None


@pytest.mark.slow
@given(
    steps=st.lists(percents, min_size=1, max_size=5).map(sorted),
    targeting=targetings,
    is_linear=st.booleans(),
    state=st.sampled_from(["ENABLED", "DISABLED"]),
    fractional=st.sampled_from(["v2", "v3"]),
    pause=st.none() | st.tuples(instants, st.integers(1, 2 * DAY)),
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_growing_rollout_never_takes_a_variant_back(
    steps: list[float],
    targeting: Any,
    state: str,
    fractional: str,
    pause: tuple[int, int] | None,
    *,
    is_linear: bool,
) -> None:
    rollouts: list[dict[str, Any]] = [
        {"rollout": {"variant": "on", "percent": percent}} for percent in steps
    ]
    rollouts[0]["state"] = "ENABLED"
    definition = planned(rollouts, targeting=targeting, linear=is_linear, state=state)
    end = START + 8 * DAY
    moments = [START + (end - START) * part // 12 for part in range(13)]
    # By instant, the definition that is stored then.
    stored = dict.fromkeys(moments, definition)
    status = status_of(definition, pause[0]) if pause is not None else None
    if pause is not None and status is not None and status.next_step is not None:
        paused = control.pause(definition, pause[0])
        resumed = control.resume(paused, sum(pause))
        around = [pause[0] - 1, pause[0], sum(pause) - 1, sum(pause), sum(pause) + 1]
        for now in sorted([*moments, *around]):
            stored[now] = definition if now < pause[0] else paused
            if now >= sum(pause):
                stored[now] = resumed

    flags = {id(d): Flag("flag", d, FlagSet(SEGMENTS, fractional, {})) for d in stored.values()}
    for key in KEYS[:40]:
        got = [
            flags[id(stored[now])].evaluate({"targetingKey": key}, now).outcome.variant == "on"
            for now in sorted(stored)
            if now >= START
        ]
        # `var` and conditions without attributes give the same at all instants.
        assert got == sorted(got), key


@pytest.mark.slow
@given(plans=st.lists(definitions(), min_size=1, max_size=6), context=contexts, data=st.data())
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_bulk_evaluation_of_plans_equals_single_ones(
    plans: list[dict[str, Any]], context: dict[str, Any], data: st.DataObject
) -> None:
    # Several flags of each plan, so that they share conditions.
    values = {f"{number}-{at}": plan for at, plan in enumerate(plans) for number in range(4)}
    rules = Ruleset(fractional="v3", metadata={}).with_changes(
        [
            *(Rule(key=k, is_segment=True, value=v, state="1") for k, v in SEGMENTS.items()),
            *(Rule(key=k, is_segment=False, value=v, state="1") for k, v in values.items()),
        ],
        [],
    )

    for now in data.draw(st.lists(instants, min_size=1, max_size=4)):
        portions = [*rules.bulk.evaluate(context, now)]
        bulk = [body for part in portions for body in bodies_of(part)]
        single = [flag.body(context, Run(context, now)) for flag in rules.flags.values()]
        assert sorted(bulk) == sorted(single)


def test_disabled_period_gives_the_callers_default() -> None:
    definition = planned([{"state": "ENABLED"}, {"state": "DISABLED"}], state="DISABLED")
    flag = Flag("flag", definition, FlagSet({}, "v3", {}))

    before, during, after = (
        flag.evaluate({}, now).outcome for now in (START - 1, START, START + DAY)
    )

    assert (before.reason, before.variant) == ("DEFAULT", "")
    assert (during.reason, during.variant) == ("TARGETING_MATCH", "off")
    assert (after.reason, after.variant) == ("DEFAULT", "")


def test_linear_plan_moves_by_one_point() -> None:
    definition = planned(
        [{"rollout": {"variant": "on", "percent": percent}} for percent in (0, 100)], linear=True
    )

    plan = read_plan(definition)
    assert plan is not None
    percents = [period.rollout.percent for period in periods(definition, plan) if period.rollout]

    assert percents == list(range(101))
    flag = Flag("flag", definition, FlagSet({}, "v3", {}))
    assert len(flag.transitions) == 100
    assert flag.transitions_are_known


def test_linear_plan_with_many_turns_is_bounded() -> None:
    definition = planned(
        [{"rollout": {"variant": "on", "percent": 100 * (n % 2)}} for n in range(50)], linear=True
    )

    plan = read_plan(definition)
    assert plan is not None
    assert len(periods(definition, plan)) <= 200
    assert compile_violation("flag", without_plan(definition)["targeting"], {}) is None


def test_malformed_plan_is_ignored() -> None:
    definition = {"state": "ENABLED", "variants": {"a": 1}, "plan": {"steps": [{"at": "soon"}]}}

    assert without_plan(definition) == {"state": "ENABLED", "variants": {"a": 1}}
    assert status_of(definition, START) is None


def test_instants_are_seconds_of_the_first_change() -> None:
    definition = planned([{"rollout": {"variant": "on", "percent": 100}}])

    assert variant(definition, {}, START - 1) == "off"
    assert variant(definition, {}, START) == "on"
    assert parse(text_of(START)) == START


@pytest.mark.parametrize("test", [{"in_list": ["vips", {"var": "mail"}]}, {"flag": ["base", "on"]}])
def test_rollout_follows_a_test_that_is_the_whole_rule(test: dict[str, Any]) -> None:
    rollout = {"rollout": {"variant": "on", "percent": 100}}
    definition = planned([rollout], targeting=test)
    rule = without_plan(definition)["targeting"]
    assert rule["if"][:2] == [test, True]
    assert definition_at(definition, START)["targeting"] == {"if": [test, True, "on"]}
