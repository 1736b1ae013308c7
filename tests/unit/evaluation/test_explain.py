"""The trace of an evaluation has each operator that ran, its operands and its result."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.engine import FlagSet
from app.evaluation.explain import STEPS_MAX, EvaluationStep, Explanation, Share, Split, explain
from tests.unit.evaluation.rule_grammar import ANY_RULE, ANY_VALUE
from tests.unit.evaluation.rules import NOW, compiled, var
from tests.work import processor_seconds

VARIANTS = {"a": "A", "b": "B"}


def explained(
    targeting: Any,
    context: Mapping[str, Any] | None = None,
    *,
    segments: Mapping[str, Any] | None = None,
    fractional: str = "v3",
) -> Explanation:
    return explain(
        "flag",
        {"state": "ENABLED", "variants": VARIANTS, "targeting": targeting},
        FlagSet(segments or {}, fractional, {}),
        context=context or {},
        now=NOW,
    )


def only(targeting: Any, context: Mapping[str, Any] | None = None, **more: Any) -> EvaluationStep:
    """Return the step of the rule's outermost operator."""
    (step,) = explained(targeting, context, **more).steps
    return step


@pytest.mark.parametrize(
    ("rule", "operands", "outcome"),
    [
        ({">=": [var("age"), 18]}, [17, 18], False),
        ({">=": [18, var("age")]}, [18, 17], True),
        ({"!": var("age")}, [17], False),
        ({"!": [var("absent")]}, [None], True),
        ({"in": [var("plan"), ["pro", "team"]]}, ["pro", ["pro", "team"]], True),
        ({"in": [var("plan"), [var("plan"), "team"]]}, ["pro", ["pro", "team"]], True),
        ({"==": [{"%": [var("age"), 2]}, {"var": "absent"}]}, [1, None], False),
        ({"==": [{"$ref": "adult"}, False]}, [False, False], True),
        ({"sem_ver": [var("version"), ">=", "2.0.0"]}, ["1.9.0", ">=", "2.0.0"], False),
        ({"starts_with": [var("plan"), "p"]}, ["pro", "p"], True),
        ({"missing": ["age", "absent"]}, ["age", "absent"], ["absent"]),
        ({"cat": ["is ", var("plan")]}, ["is ", "pro"], "is pro"),
        ({"var": "plan"}, ["plan"], "pro"),
        ({"var": ["absent", "free"]}, ["absent", "free"], "free"),
        # The operand of a loop is the array. Its body has an operand for each element.
        ({"some": [var("list"), {">": [var(""), 1]}]}, [[1, 2]], True),
        ({"map": [[1, 2], {"+": [var(""), 1]}]}, [[1, 2]], [2, 3]),
        ({"reduce": [var("list"), {"+": [var("current"), var("accumulator")]}, 0]}, [[1, 2]], 3),
    ],
)
def test_step_shows_operands(rule: Any, operands: list[Any], outcome: Any) -> None:
    context = {"age": 17, "plan": "pro", "version": "1.9.0", "list": [1, 2]}

    step = only(rule, context, segments={"adult": {">=": [var("age"), 18]}})

    assert (step.operands, step.outcome) == (operands, outcome)


def test_lazy_operator_shows_steps_that_ran() -> None:
    step = only({"if": [{"or": [var("x"), var("y"), var("z")]}, "a", var("never")]}, {"y": 1})
    (disjunction,) = step.steps

    assert (step.operands, step.outcome) == ([], "a")
    assert (disjunction.operands, disjunction.outcome) == ([], 1)
    assert [(step.operands, step.outcome) for step in disjunction.steps] == [
        (["x"], None),
        (["y"], 1),
    ]


def test_step_operands_end_at_failed_one() -> None:
    long = {"reduce": [var("list"), {"cat": [var("accumulator")] * 9}, "x" * 900]}

    step = only({"==": [1, long, 2]}, {"list": list(range(50))})

    assert step.operands == [1]
    assert step.error is not None


def test_split_shows_bucket_and_shares() -> None:
    rule = {"fractional": [var("user"), ["a", 25], ["b", 75], ["a", 0]]}

    step = only(rule, {"user": "u1"})

    assert step.split is not None
    number = step.split.bucket
    assert number is not None
    assert step.outcome == ("a" if number < 25 else "b")
    assert step.operands == ["u1", ["a", 25], ["b", 75], ["a", 0]]
    assert step.split == Split(
        bucket=number,
        total_weight=100,
        shares=[
            Share(variant="a", weight=25, start=0, end=25),
            Share(variant="b", weight=75, start=25, end=100),
            Share(variant="a", weight=0, start=100, end=100),
        ],
    )


@pytest.mark.parametrize("fractional", ["v2", "v3"])
@given(key=st.text(min_size=1), weights=st.lists(st.integers(0, 9), min_size=2, max_size=5))
def test_split_shows_evaluated_bucket(fractional: str, key: str, weights: list[int]) -> None:
    key = key.encode(errors="replace").decode()
    rule = {"fractional": [[f"v{at}", weight] for at, weight in enumerate(weights)]}

    step = only(rule, {"targetingKey": key}, fractional=fractional)

    if not sum(weights):
        assert (step.split, step.outcome) == (None, None)
        return
    assert step.split is not None
    assert step.split.bucket is not None
    held = [s.variant for s in step.split.shares if s.start <= step.split.bucket < s.end]
    assert held == [step.outcome]


def test_split_without_key_shows_shares_only() -> None:
    step = only({"fractional": [["a", 1], ["b", 1]]}, {})

    assert step.split is not None
    assert (step.split.bucket, step.split.total_weight, step.outcome) == (None, 2, None)


@pytest.mark.parametrize(
    "buckets", [[["a", "x"]], [["a", 1, 2]], ["a"], [[], ["a", 1]], [["a", 0]]]
)
def test_malformed_buckets_show_no_split(buckets: list[Any]) -> None:
    step = only({"fractional": [var("user"), *buckets]}, {"user": "u"})

    assert (step.split, step.outcome) == (None, None)


def test_computed_buckets_show_values() -> None:
    rule = {"fractional": [var("user"), [{"if": [True, "a"]}, {"*": [2, 3]}], ["b", 4]]}

    step = only(rule, {"user": "u"})

    assert step.split is not None
    assert step.split.total_weight == 10
    assert [(share.variant, share.weight) for share in step.split.shares] == [("a", 6), ("b", 4)]


@pytest.mark.parametrize(
    "value",
    ["y" * 499, "\0" * 90, [1] * 250, [[""]] * 100, {"a" * 400: "b" * 100}, {"a": [2.5] * 124}],
)
def test_long_value_is_not_shown(value: Any) -> None:
    step = only({"==": [var("text"), "x" * 498]}, {"text": value})

    assert step.operands == ["(more than 500 bytes of JSON)", "x" * 498]


@pytest.mark.parametrize(
    "value",
    ["y" * 498, "\0" * 83, [1] * 249, [[""]] * 83, {"a" * 400: "b" * 93}, {"a": [2.5] * 123}],
)
def test_value_at_size_limit_is_shown(value: Any) -> None:
    step = only({"==": [var("value"), "x"]}, {"value": value})

    assert step.operands == [value, "x"]


def test_explanation_spends_the_same_steps() -> None:
    texts = [f"{number:08000}" for number in range(20)]
    rule = {"if": [{"or": [{"in": [var("a"), {"$ref": "some"}]}] * 40}, "a", "b"]}
    within = {"if": [{"or": [{"in": [{"$ref": "one"}, var("b")]}] * 40}, "a", "b"]}
    segments = {"some": texts, "one": "x" * 100_000}
    context = {"a": "y" * 8_000, "b": "z"}

    for targeting in (rule, within):
        explanation = explained(targeting, context, segments=segments)
        definition = {"state": "ENABLED", "variants": VARIANTS, "targeting": targeting}
        flag = compiled(definition, segments=segments)
        assert explanation.outcome == flag.evaluate(context, NOW).outcome


def test_large_context_is_not_encoded_per_step() -> None:
    rule = {"if": [{"reduce": [var("list"), var("accumulator"), var("large")]}, "a"]}

    def seconds(size: int) -> float:
        context = {"list": [0] * 2_000, "large": [1] * size}
        return processor_seconds(lambda: explained(rule, context))

    # Encoding it for each step takes 300 times as long.
    assert seconds(400_000) < 20 * seconds(2_000)


def test_trace_above_step_limit_is_incomplete() -> None:
    buckets = [[f"v{at}", 1] for at in range(100)]
    loop = {"map": [var("list"), {"fractional": [var(""), *buckets]}]}

    explanation = explained({"if": [loop, "a"]}, {"list": [str(number) for number in range(60)]})

    assert not explanation.is_complete
    assert len(msgspec.json.encode(explanation)) < 300 * STEPS_MAX


@given(
    rule=ANY_RULE,
    context=st.dictionaries(st.sampled_from(["a", "b", "$flagd", "targetingKey"]), ANY_VALUE),
)
def test_explanation_outcome_equals_evaluation(rule: Any, context: dict[str, Any]) -> None:
    definition = {"state": "ENABLED", "variants": VARIANTS, "targeting": rule}

    explanation = explained(rule, context)

    assert explanation.outcome == compiled(definition).evaluate(context, NOW).outcome
    msgspec.json.encode(explanation)
