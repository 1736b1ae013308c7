"""A ramp over ten days with 20,000 keys, and the same by flagd's evaluator."""

import time
from copy import deepcopy

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from app.evaluation.engine import Flag, FlagSet
from app.evaluation.plans.compiling import without_plan
from app.evaluation.plans.instants import text_of
from tests.unit.evaluation.plans.plans import HOUR, START, planned

DAYS = 10 * 24 * HOUR
KEYS = 20_000
# Every key at 20 instants would take a minute in flagd's evaluator.
KEYS_OF_FLAGD = 250
INSTANTS = [START + DAYS * part // 19 for part in range(20)]
RAMP = planned(
    [
        {"at": text_of(START + days), "rollout": {"variant": "on", "percent": percent}}
        for days, percent in ((0, 0), (DAYS, 100))
    ],
    linear=True,
)


@pytest.mark.parametrize("fractional", ["v2", "v3"])
def test_ramp_of_ten_days_takes_no_variant_back(fractional: str) -> None:
    flag = Flag("flag", RAMP, FlagSet({}, fractional, {}))
    on: set[str] = set()
    keys = [f"user-{number}" for number in range(KEYS)]

    for part in (0, 1, 4, 8, 12, 16, 19):
        now = INSTANTS[part]
        served = {
            key for key in keys if flag.evaluate({"targetingKey": key}, now).outcome.variant == "on"
        }
        assert on <= served
        on = served
        expected = (now - START) * 100 // DAYS
        assert abs(len(on) / KEYS * 100 - expected) < 1

    assert len(on) == KEYS


@pytest.mark.slow
def test_ramp_is_the_same_in_flagds_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    core = FlagdCore()
    core.set_flags(deepcopy({"flags": {"flag": {**without_plan(RAMP)}}}))
    flag = Flag("flag", RAMP, FlagSet({}, "v3", {}))

    for now in INSTANTS:
        monkeypatch.setattr(time, "time", lambda now=now: float(now))
        for number in range(KEYS_OF_FLAGD):
            key = f"user-{number}"
            theirs = core.resolve_string_value("flag", "x", EvaluationContext(key)).variant
            assert theirs == flag.evaluate({"targetingKey": key}, now).outcome.variant
