"""Limits on the cost of rules: without them, each of these would block the caller."""

import gc
from typing import Any

import pytest

from app.evaluation.arrays import ValueSet
from app.evaluation.compiler import DEPTH_MAX, LIST_VALUES_MAX, NODES_MAX, VALUES_MAX
from app.evaluation.engine import ErrorCode
from app.evaluation.run import STEPS_MAX, RuleError, Run
from tests.unit.evaluation.rules import NOW, flag, result, var
from tests.work import processor_seconds

MEBIBYTE = 1024 * 1024
LONG = "a" * (MEBIBYTE // 2)
ALIKE = LONG[:-1] + "b"
TOO_COSTLY = "The rule takes too many steps with this context."
ONES = [1] * 10_000
# The most processor time of a rule, in that of a loop which takes all steps. A rule that counts its
# steps takes up to 3 times as long. Without a limit, these take up to 300 times as long.
COST_MAX = 12


def often(rule: Any) -> list[Any]:
    """Return a rule that repeats one operation."""
    return [rule] * 300


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


COSTLY: dict[str, tuple[Any, dict[str, Any]]] = {
    "a loop over very many": ({"map": [var("x"), {"+": [var(""), 1]}]}, {"x": ONES}),
    "a loop in a loop": (
        {"map": [var("x"), {"map": [var("x"), var("")]}]},
        {"x": [{"x": [1] * 300}] * 300},
    ),
    "a text that doubles": (
        {"reduce": [var("x"), {"cat": [var("accumulator"), var("accumulator")]}, "ab"]},
        {"x": ONES[:2000]},
    ),
    "a list that doubles": (
        {"reduce": [var("x"), {"merge": [var("accumulator"), var("accumulator")]}, [1]]},
        {"x": ONES[:2000]},
    ),
    "a tree that doubles": (
        {"cat": {"reduce": [var("x"), [var("accumulator"), var("accumulator")], [1]]}},
        {"x": ONES[:60]},
    ),
    "a list that is merged": (often({"merge": [var("x"), var("x")]}), {"x": ONES}),
    "long texts joined": (often({"cat": [var("x"), var("x")]}), {"x": LONG}),
    "parts of a long text": (often({"substr": [var("x"), 1]}), {"x": LONG}),
    "a long text searched": (often({"in": ["b", var("x")]}), {"x": LONG}),
    "a text searched that nearly matches everywhere": (
        often({"in": [var("y"), var("x")]}),
        {"x": "a" * 2400, "y": "a" * 1000 + "ba"},
    ),
    "a list of numbers searched": (often({"in": [var("y"), var("x")]}), {"x": ONES, "y": 2}),
    "a list of long texts searched": (
        {"in": [var("y"), {"merge": [var("x")] * 500}]},
        {"x": LONG, "y": ALIKE},
    ),
    "long texts compared": (often({"==": [var("x"), var("y")]}), {"x": LONG, "y": ALIKE}),
    "long texts ordered": (often({"<": [var("x"), var("y")]}), {"x": LONG, "y": LONG + "é"}),
    "a long list compared with a text": (often({"==": [var("x"), "y"]}), {"x": ONES}),
    "a list of lists compared with a text": ({"==": [var("x"), "y"]}, {"x": [ONES] * 100}),
    "numbers of many digits": ({"map": [var("x"), {"+": var("")}]}, {"x": ["9" * 400] * 2000}),
    "white space as a number": ({"map": [var("x"), {"-": var("")}]}, {"x": [" " * 400] * 2000}),
    "numbers printed": ({"map": [var("x"), {"cat": var("")}]}, {"x": [1.5e-300] * 9000}),
    "a path of many parts": (var({"var": "path"}), {"path": "x" + ".0" * MEBIBYTE, "x": "0"}),
    "a path of many parts, often": (
        often({"var": {"var": "path"}}),
        {"path": "x" + ".0" * 500, "x": "0"},
    ),
    "many paths": ({"missing": [var("x")]}, {"x": ["a.b.c.d.e"] * 9000}),
    "all of a large context": (
        often({"!": [var("")]}),
        {f"key {n}": n for n in range(20_000)},
    ),
    "a large object hashed": (
        {"fractional": [var("x"), ["a"]]},
        {"x": {f"key {n}": [n] for n in range(20_000)}},
    ),
    "a long text hashed": (often({"fractional": [var("x"), ["a"]]}), {"x": LONG}),
    "a long targeting key hashed": (often({"fractional": [["a"]]}), {"targetingKey": LONG}),
    "beginnings compared": (often({"starts_with": [var("x"), var("x")]}), {"x": LONG}),
    "versions of many parts": (
        {"map": [var("x"), {"sem_ver": [var(""), ">", "1.0.0"]}]},
        {"x": [f"{n}.0.0-{'a.' * 120}a" for n in range(2000)]},
    ),
}

CHEAP: dict[str, tuple[Any, dict[str, Any]]] = {
    "the truth of a long list": (often(var("x")), {"x": ONES}),
    "long lists compared": (often({"==": [var("x"), var("y")]}), {"x": ONES, "y": [*ONES]}),
    "texts of different lengths": (often({"==": [var("x"), "a"]}), {"x": LONG}),
    "a long text among others": (often({"in": [var("x"), ["a", "b"]]}), {"x": LONG}),
    "a long text that starts": (often({"starts_with": [var("x"), "aaa"]}), {"x": LONG}),
    "a huge text as a number": (often({"-": [var("x"), 1]}), {"x": " " * MEBIBYTE}),
    "the largest number there is": (often({"*": [var("x"), 2]}), {"x": 10**308}),
}


@pytest.fixture(scope="module")
def loop_seconds() -> float:
    """Return the processor time of a loop that takes nearly all steps."""
    loop = flag({"if": [{"some": [var("x"), {"==": [var(""), 2]}]}, "a", "b"]})
    context = {"x": ONES[: STEPS_MAX // 4]}
    assert loop.evaluate(context, NOW).outcome.variant == "b"
    return processor_seconds(lambda: loop.evaluate(context, NOW))


@pytest.mark.parametrize("case", COSTLY.values(), ids=list(COSTLY))
def test_costly_rule_fails_alone_and_early(
    case: tuple[Any, dict[str, Any]], loop_seconds: float
) -> None:
    rule, context = case
    compiled_flag = flag({"if": [True, rule]})

    outcome = compiled_flag.evaluate(context, NOW).outcome

    seconds = processor_seconds(lambda: compiled_flag.evaluate(context, NOW))
    assert seconds < COST_MAX * loop_seconds
    assert outcome.error_code is ErrorCode.GENERAL
    assert outcome.error_details is not None
    assert outcome.error_details.lower() == TOO_COSTLY.lower()


@pytest.mark.parametrize("case", CHEAP.values(), ids=list(CHEAP))
def test_cheap_rule_with_costly_form_passes(
    case: tuple[Any, dict[str, Any]], loop_seconds: float
) -> None:
    rule, context = case
    run = Run(context, NOW)

    result(rule, context, run=run)

    seconds = processor_seconds(lambda: result(rule, context, run=Run(context, NOW)))
    assert seconds < COST_MAX * loop_seconds
    assert run.steps > STEPS_MAX // 2


@pytest.mark.parametrize(
    "rule",
    [
        {"cat": [var("x")]},
        {"==": [var("x"), "a"]},
        {"fractional": [{"if": [True, var("y")]}, ["a"]]},
        {"in": ["a", var("x")]},
        {"max": [var("x")]},
        var("x" + ".0" * 1000),
        {"cat": {"reduce": [var("list"), [var("accumulator")], 1]}},
    ],
)
def test_deep_context_is_evaluated(rule: Any) -> None:
    context = {"x": nested("a", 1000), "y": {"a": nested("a", 1000), "b": 1}, "list": ONES[:3000]}

    compiled_flag = flag({"if": [True, {"if": [rule, "a", "b"]}]})

    assert compiled_flag.evaluate(context, NOW).outcome.key == "flag"


def test_usual_rule_spends_no_steps() -> None:
    context = {"email": "ada@example.org", "age": 36, "version": "2.1.0", "country": "DE"}
    run = Run(context, NOW)

    result({"in": [var("country"), ["DE", "FR"]]}, context, run=run)
    result({"ends_with": [var("email"), "@example.org"]}, context, run=run)
    result({"in": ["@example", var("email")]}, context, run=run)
    result({">=": [var("age"), 18]}, context, run=run)
    result({"fractional": [{"cat": [var("email"), var("country")]}, ["a"]]}, context, run=run)

    assert run.steps == STEPS_MAX


def test_steps_do_not_depend_on_earlier_runs() -> None:
    runs = []
    for _ in range(2):
        runs.append(Run({}, NOW))
        result({"sem_ver": ["9.8.7-unheard-of", ">", {"cat": ["1.0", ".0"]}]}, run=runs[-1])

    assert runs[0].steps == runs[1].steps < STEPS_MAX


# Refusals at compile time


def test_rule_above_node_limit_is_refused() -> None:
    result({"or": [0] * (NODES_MAX - 1)})

    for rule in ({"or": [0] * NODES_MAX}, [[0]] * NODES_MAX, var(".".join("a" * NODES_MAX))):
        with pytest.raises(RuleError, match="nodes"):
            result(rule)


def test_plain_list_values_count_as_one_node() -> None:
    wide = {"in": [var("x"), ["y"] * LIST_VALUES_MAX]}
    mixed = {"in": [var("x"), [var("z"), *["y"] * (LIST_VALUES_MAX - 1)]]}

    for rule in ({"or": [wide] * 10}, {"or": [mixed] * 10}):
        assert result(rule, {"x": "y", "z": "z"}) is True
    assert result(mixed, {"x": "z", "z": "z"}) is True


def test_lists_above_limits_are_refused() -> None:
    segments = {"wide": {"in": [var("x"), ["y"] * LIST_VALUES_MAX]}}
    too_long = {"in": [var("x"), ["y"] * (LIST_VALUES_MAX + 1)]}

    with pytest.raises(RuleError, match=r"in\[1\]: the list has more than 10000 values"):
        result(too_long)
    with pytest.raises(RuleError, match="together"):
        result({"or": [{"$ref": "wide"}] * (VALUES_MAX // LIST_VALUES_MAX + 1)}, segments=segments)


def _value_sets() -> int:
    gc.collect()
    return sum(isinstance(thing, ValueSet) for thing in gc.get_objects())


@pytest.mark.slow
def test_flags_share_value_sets_of_a_segment() -> None:
    segments = {"wide": {"in": [var("x"), [str(n) for n in range(LIST_VALUES_MAX)]]}}
    asked = {"if": [{"$ref": "wide"}, "a"]}
    before = _value_sets()

    flags = [flag(asked, segments=segments) for _ in range(20)]

    assert _value_sets() == before + 1
    assert {
        compiled_flag.evaluate({"x": "9999"}, NOW).outcome.variant for compiled_flag in flags
    } == {"a"}


@pytest.mark.parametrize(
    "values", [["a", 1, None], [1.5, 2], [True, "true"], [None], [False, 0.0, "0"], [2**53 + 1]]
)
def test_in_literal_list_equals_computed_list(values: list[Any]) -> None:
    for value in ["a", "true", "0", "", 1, 1.0, 0, -0.0, True, False, None, 2**53, [], {}, [1]]:
        fixed = result({"in": [var("x"), values]}, {"x": value})

        assert fixed is result({"in": [var("x"), var("y")]}, {"x": value, "y": values}), value


@pytest.mark.parametrize(
    "rule",
    [
        {"missing": ["a" * 100_000]},
        {"missing": [["a.b"] * 6_000]},
        {"missing_some": [1, ["a" * 100_000]]},
        {"some": [ONES, {"==": [var(""), var("x")]}]},
        {"map": [[var("x"), ["a.b.c"]], {"missing": ["a" * 100_000]}]},
    ],
)
def test_rule_always_too_costly_does_not_compile(rule: Any) -> None:
    with pytest.raises(RuleError, match="too many steps"):
        result(rule)


def test_rule_above_depth_limit_is_refused() -> None:
    result(nested(var("x"), DEPTH_MAX - 1))

    for rule in (nested(var("x"), DEPTH_MAX), nested("x", 10_000)):
        with pytest.raises(RuleError, match="deeper"):
            result(rule)


def test_segment_nodes_count_at_each_reference() -> None:
    last = 30
    segments: dict[str, Any] = {f"s{n}": {"or": [{"$ref": f"s{n + 1}"}] * 2} for n in range(last)}
    segments[f"s{last}"] = False
    chain = {f"s{n}": {"$ref": f"s{n + 1}"} for n in range(100)}

    with pytest.raises(RuleError, match="nodes"):
        result({"$ref": "s0"}, segments=segments)
    with pytest.raises(RuleError, match="deeper"):
        result({"$ref": "s0"}, segments=chain)


def test_long_string_in_segment_spends_steps() -> None:
    segments = {"same": {"==": [var("x"), ALIKE]}}

    with pytest.raises(RuleError, match="steps"):
        result(often({"$ref": "same"}), {"x": LONG}, segments=segments)
