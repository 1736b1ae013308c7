"""Compare generated rules with flagd's own evaluator, and evaluate arbitrary ones."""

import logging
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode as Code
from openfeature.exception import OpenFeatureError

from app.evaluation.bucketing import GENERATIONS
from app.evaluation.engine import ErrorCode, Reason
from tests.examples import examples
from tests.unit.evaluation.rule_grammar import (
    ANY_RULE,
    ANY_VALUE,
    CONTEXTS,
    SEGMENTS,
    STORED,
    targetings,
)
from tests.unit.evaluation.rules import NOW, compiled, flag

REASONS = {*Reason}


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    """flagd-core logs a stack trace for each invalid version."""
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)


def theirs(definition: dict[str, Any], context: dict[str, Any]) -> tuple[Any, ...]:
    core = FlagdCore()
    document = {"flags": {"flag": definition}, "$evaluators": SEGMENTS}
    core.set_flags(deepcopy(document))
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    user = EvaluationContext(context.get("targetingKey"), attributes)
    try:
        details = core.resolve_string_value("flag", "default", user)
    except OpenFeatureError as error:
        return (str(error.error_code.value),)
    value = None if details.variant is None else details.value
    return (str(details.reason), details.variant, value)


def ours(definition: dict[str, Any], context: dict[str, Any]) -> tuple[Any, ...]:
    flag = compiled(definition, segments=SEGMENTS)
    outcome = flag.evaluate(context, NOW).outcome
    if outcome.error_code is not None:
        return (str(outcome.error_code),)
    # A missing variant is an empty one in our answers.
    variant = outcome.variant or None
    return (str(outcome.reason), variant, None if variant is None else outcome.value)


@pytest.mark.slow
@given(
    targeting=targetings,
    context=CONTEXTS,
    default=st.sampled_from(["a", "b", "", None]),
    boolean=st.booleans(),
)
@hypothesis_settings(max_examples=examples(600), deadline=None)
def test_outcome_of_any_flag_equals_flagd_core(
    targeting: Any, context: dict[str, Any], default: str | None, *, boolean: bool
) -> None:
    variants = {"a": "A", "b": "B"} | ({"true": "yes", "false": "no"} if boolean else {})
    definition = {
        "state": "ENABLED",
        "variants": variants,
        "defaultVariant": default,
        "targeting": targeting,
    }

    assert ours(definition, context) == theirs(definition, context)


def test_failure_code_equals_flagd_core() -> None:
    assert {Code.GENERAL.value, Code.PARSE_ERROR.value} == {*map(str, ErrorCode)}


@pytest.mark.slow
@given(
    rule=ANY_RULE,
    segment=ANY_RULE,
    context=st.dictionaries(st.sampled_from(["a", "b", "$flagd", "targetingKey"]), ANY_VALUE),
    fractional=st.sampled_from(sorted(GENERATIONS)),
)
@example(rule={"cat": [{"var": "a"}]}, segment=1, context={"a": "\ud800"}, fractional="v3")
@hypothesis_settings(max_examples=examples(1_000), deadline=None)
def test_evaluation_any_rule_and_context_never_raises(
    rule: Any, segment: Any, context: dict[str, Any], fractional: str
) -> None:
    before = deepcopy(context)
    compiled_flag = flag(rule, segments={"a": segment}, fractional=fractional)

    evaluation = compiled_flag.evaluate(context, NOW)

    assert repr(context) == repr(before)
    assert evaluation.outcome.error_code is not None or evaluation.outcome.reason in REASONS
    assert evaluation.outcome.error_details != "The rule cannot be run with this context."
    assert evaluation.body == compiled_flag.evaluate(context, NOW).body


@given(
    definition=st.dictionaries(
        st.sampled_from(["state", "variants", "defaultVariant", "targeting", "metadata"]),
        st.sampled_from(["ENABLED", "DISABLED"]) | STORED,
    )
)
@hypothesis_settings(deadline=None)
def test_evaluation_any_definition_never_raises(definition: dict[str, Any]) -> None:
    assert compiled(definition).evaluate({"a": 1}, NOW).outcome.key == "flag"
