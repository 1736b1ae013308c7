"""Flags that need other flags: the operator `flag`, and the member `prerequisites`."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.evaluation.body_block import BodyBlock
from app.evaluation.compiler import FLAG_DEPTH_MAX, FLAG_LEVELS_MAX
from app.evaluation.engine import ErrorCode, FlagSet, Outcome, Reason
from app.evaluation.explain import explain
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.needs import needs_of
from app.evaluation.ruleset import Rule, Ruleset
from app.evaluation.run import STEPS_MAX
from tests.examples import examples
from tests.unit.evaluation.rules import NOW, var

KEYS = "abcde"
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"x": 1},
    {"x": 2, "targetingKey": "u1"},
    *({"targetingKey": f"user-{n}", "x": n % 3} for n in range(8)),
]


def switch(**members: Any) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        **members,
    }


def needing(*flags: str, **members: Any) -> dict[str, Any]:
    """Return a flag that is on if each of these flags gives `on`."""
    prerequisites = [{"flag": key, "variant": "on"} for key in flags]
    return switch(
        **{"prerequisites": prerequisites, "defaultVariant": "on", "offVariant": "off", **members}
    )


def rules(
    definitions: Mapping[str, Any],
    before: Ruleset | None = None,
    *,
    state: str = "1",
    segments: Mapping[str, Any] | None = None,
) -> Ruleset:
    put = [Rule(key=k, is_segment=False, value=d, state=state) for k, d in definitions.items()]
    put += [Rule(key=k, is_segment=True, value=s, state=state) for k, s in (segments or {}).items()]
    return (before or Ruleset(fractional="v3", metadata={})).with_changes(put, [])


def outcome(of: Ruleset, key: str, context: Mapping[str, Any] | None = None) -> Outcome:
    return of.flags[key].evaluate(context or {}, NOW).outcome


def variant(of: Ruleset, key: str, **context: Any) -> str | None:
    return outcome(of, key, context).variant


ON_FOR_ONE = switch(targeting={"if": [{"==": [var("x"), 1]}, "on"]})


def test_operator_gives_truth_or_variant() -> None:
    of = rules(
        {
            "base": ON_FOR_ONE,
            "two": switch(targeting={"if": [{"flag": ["base", "on"]}, "on"]}),
            "list": switch(targeting={"flag": ["base"]}),
            "text": switch(targeting={"flag": "base"}),
        }
    )

    for key in ("two", "list", "text"):
        assert [variant(of, key, x=x) for x in (1, 2)] == ["on", "off"]


def test_unmet_prerequisite_gives_off_variant() -> None:
    of = rules({"base": ON_FOR_ONE, "flag": needing("base")})

    met, unmet = outcome(of, "flag", {"x": 1}), outcome(of, "flag", {"x": 2})

    assert (met.reason, met.variant) == (Reason.DEFAULT, "on")
    assert (unmet.reason, unmet.variant, unmet.value) == (Reason.PREREQUISITE_FAILED, "off", False)


@pytest.mark.parametrize(("default", "expected"), [("on", "on"), (None, "")])
def test_unmet_prerequisite_without_off_variant_gives_default(
    default: str | None, expected: str
) -> None:
    definition = needing("base", defaultVariant=default, targeting={"if": [True, "off"]})
    del definition["offVariant"]
    of = rules({"base": switch(), "flag": definition})

    result = outcome(of, "flag")

    assert (result.reason, result.variant) == (Reason.PREREQUISITE_FAILED, expected)


def test_targeting_decides_when_prerequisites_hold() -> None:
    of = rules({"base": ON_FOR_ONE, "flag": needing("base", targeting={"if": [True, "off"]})})

    result = outcome(of, "flag", {"x": 1})

    assert (result.reason, result.variant) == (Reason.TARGETING_MATCH, "off")


@pytest.mark.parametrize(
    "base",
    [
        switch(state="DISABLED", defaultVariant="on"),
        switch(defaultVariant=None),
        switch(state="ON", defaultVariant="on"),
        switch(targeting={"if": [True, "missing"]}),
        switch(targeting={"if": [{"$ref": "missing"}, "on", "on"]}),
        switch(targeting={"unknown": 1}, defaultVariant="on"),
        1,
    ],
)
def test_flag_without_variant_meets_no_prerequisite(base: Any) -> None:
    of = rules(
        {
            "base": base,
            "flag": needing("base"),
            "name": switch(targeting={"if": [{"===": [{"flag": ["base"]}, None]}, "on"]}),
        }
    )

    assert outcome(of, "flag").reason is Reason.PREREQUISITE_FAILED
    assert variant(of, "name") == "on"


def test_disabled_flag_ignores_its_prerequisites() -> None:
    of = rules({"base": switch(), "flag": needing("base", state="DISABLED")})

    assert outcome(of, "flag").reason is Reason.DISABLED


def test_missing_flag_fails_until_it_exists() -> None:
    of = rules({"flag": needing("base")})
    failed = outcome(of, "flag")

    of = rules({"base": switch(defaultVariant="on")}, of)

    assert failed.error_code is ErrorCode.PARSE_ERROR
    assert failed.error_details == "prerequisites[0]: there is no such flag."
    assert variant(of, "flag") == "on"
    removed = of.with_changes([], ["base"])
    assert outcome(removed, "flag").error_code is ErrorCode.PARSE_ERROR


def test_circle_fails_each_of_its_flags_until_it_is_cut() -> None:
    of = rules({"a": needing("b"), "b": needing("c"), "c": needing("a"), "d": needing("a")})
    errors = {key: outcome(of, key).error_details for key in of.flags}

    cut = rules({"c": switch(defaultVariant="on")}, of, state="2")

    rule = "prerequisites[0]: the flags need each other in a circle."
    assert errors == dict.fromkeys("abcd", rule)
    assert [variant(cut, key) for key in "abcd"] == ["on"] * 4


@pytest.mark.parametrize(
    ("levels", "fails"), [(FLAG_LEVELS_MAX, False), (FLAG_LEVELS_MAX + 1, True)]
)
def test_chain_of_flags_has_a_limit(levels: int, *, fails: bool) -> None:
    chain = {f"f{n:02}": needing(f"f{n + 1:02}") for n in range(levels)}
    of = rules({**chain, f"f{levels:02}": switch(defaultVariant="on")})

    assert (outcome(of, "f00").error_code is not None) is fails
    assert variant(of, "f01") == "on"


@pytest.mark.parametrize("depth", [FLAG_DEPTH_MAX, FLAG_DEPTH_MAX + 1])
def test_operator_deep_in_a_rule_is_refused(depth: int) -> None:
    rule: Any = {"flag": ["base", "on"]}
    for _ in range(depth - 2):
        rule = {"!": [rule]}
    shallow = switch(targeting={"if": [{"flag": ["base", "on"]}, "on"]})
    of = rules({"base": switch(), "a": shallow, "flag": switch(targeting={"if": [rule, "on"]})})

    assert (outcome(of, "flag").error_code is not None) is (depth > FLAG_DEPTH_MAX)


def test_longest_chain_of_deepest_rules_is_evaluated() -> None:
    """Python must not run out of calls: each call of a rule is one of Python."""

    def nested(rule: Any, levels: int) -> Any:
        for _ in range(levels):
            rule = {"if": [{"!!": [rule]}, "on", "off"]}
        return rule

    rest = nested({"==": [var("x"), 1]}, 30)
    levels = FLAG_LEVELS_MAX
    deep = {
        f"f{n:02}": switch(targeting=nested({"flag": [f"f{n + 1:02}", "on"]}, 7))
        for n in range(levels)
    }
    of = rules({**deep, f"f{levels:02}": switch(targeting=rest)})

    assert [variant(of, "f00", x=x) for x in (1, 2)] == ["on", "on"]
    assert {outcome(of, key, {"x": 1}).error_code for key in of.flags} == {None}


def test_needed_flag_is_evaluated_for_the_context_in_a_loop() -> None:
    loop = {"some": [[1, 2], {"flag": ["base", "on"]}]}
    of = rules({"base": ON_FOR_ONE, "flag": switch(targeting={"if": [loop, "on"]})})

    assert [variant(of, "flag", x=x) for x in (1, 2)] == ["on", "off"]


def test_segment_cannot_need_a_flag() -> None:
    of = rules(
        {"base": switch(), "flag": switch(targeting={"if": [{"$ref": "staff"}, "on"]})},
        segments={"staff": {"flag": ["base", "on"]}},
    )

    assert "a segment cannot need a flag" in (outcome(of, "flag").error_details or "")


def test_split_of_needed_flag_uses_its_own_key() -> None:
    split = {"fractional": [["on", 1], ["off", 1]]}
    of = rules({"base": switch(targeting=split), "flag": needing("base")})

    for number in range(50):
        context = {"targetingKey": f"user-{number}"}
        assert variant(of, "flag", **context) == variant(of, "base", **context)


def test_transitions_of_needed_flag_are_those_of_the_flag() -> None:
    rule = {"if": [{">=": [var("$flagd.timestamp"), NOW]}, "on"]}
    of = rules({"base": switch(targeting=rule), "flag": needing("base"), "other": needing("flag")})

    flag = of.flags["other"]

    assert (flag.uses_time, flag.transitions_are_known) == (True, True)
    assert list(flag.transitions) == [NOW]
    assert [flag.evaluate({}, now).outcome.variant for now in (NOW - 1, NOW)] == ["off", "on"]
    assert of.timed.keys() == of.flags.keys()


def test_steps_of_needed_flag_are_those_of_the_flag() -> None:
    loop = {"some": [var("list"), {"==": [var(""), -1]}]}
    of = rules(
        {
            "base": switch(targeting={"if": [{"!": [loop]}, "on"]}),
            "other": switch(targeting={"if": [loop, "off", "on"]}),
            "one": needing("base"),
            "same": needing("base", targeting={"if": [{"flag": ["base", "on"]}, "on"]}),
            "both": needing("base", "other"),
        }
    )
    context = {"list": list(range(STEPS_MAX // 5))}

    codes = {key: outcome(of, key, context).error_code for key in of.flags}

    too_many = dict.fromkeys(("both", "same"), ErrorCode.GENERAL)
    assert codes == {"base": None, "other": None, "one": None, **too_many}


def test_trace_shows_the_variant_of_the_needed_flag() -> None:
    definitions = {"base": ON_FOR_ONE, "flag": needing("base")}
    compiler = FlagCompiler(FlagSet({}, "v3", {}), definitions.get)

    steps = explain("flag", definitions["flag"], compiler.flag_set, context={"x": 1}, now=NOW).steps

    assert [(step.place, step.operator, step.outcome) for step in steps] == [
        ("prerequisites[0]", "flag", True)
    ]
    needed = steps[0].needed
    assert needed is not None
    assert (needed.key, needed.variant, needed.reason) == ("base", "on", Reason.TARGETING_MATCH)


def _definition(draw: Any) -> dict[str, Any]:
    key = st.sampled_from(KEYS)
    rule: Any = draw(
        st.sampled_from(
            [
                None,
                {"if": [{"==": [var("x"), 1]}, "on"]},
                {"fractional": [["on", 1], ["off", 2]]},
                {"if": [{"and": [{"flag": [draw(key), "on"]}, {"==": [var("x"), 1]}]}, "on"]},
                {"flag": [draw(key)]},
                {"if": [{"flag": [draw(key), "off"]}, "on", "off"]},
            ]
        )
    )
    needs = draw(st.lists(key, max_size=2, unique=True))
    members: dict[str, Any] = {"state": draw(st.sampled_from(["ENABLED"] * 4 + ["DISABLED"]))}
    if rule is not None:
        members["targeting"] = rule
    if needs:
        members["prerequisites"] = [
            {"flag": key, "variant": draw(st.sampled_from(["on", "off"]))} for key in needs
        ]
    if draw(st.booleans()):
        members["offVariant"] = draw(st.sampled_from(["on", "off"]))
    return switch(**members)


definitions_of = st.composite(_definition)
CHANGES = st.lists(st.dictionaries(st.sampled_from(KEYS), st.none() | definitions_of()), max_size=5)


def _with_circles(definitions: Mapping[str, Any]) -> set[str]:
    """Return the flags that need themselves, or a flag that does."""
    reached = {key: {need.flag for need in needs_of(d)} for key, d in definitions.items()}
    for _ in definitions:
        reached = {
            key: keys.union(*(reached.get(other, ()) for other in keys))
            for key, keys in reached.items()
        }
    circular = {key for key, keys in reached.items() if key in keys}
    return {key for key, keys in reached.items() if key in circular or keys & circular}


@pytest.mark.slow
@example(
    changes=[
        {"a": needing("b", state="DISABLED")},
        {"b": needing("a"), "d": needing("a")},
    ]
)
@given(changes=CHANGES)
@hypothesis_settings(max_examples=examples(400), deadline=None)
def test_changed_flags_are_those_compiled_at_once(changes: list[dict[str, Any]]) -> None:
    """Flags that need a changed flag are compiled again, and no other order matters.

    Writes refuse circles. What the flags of a circle give depends on which is compiled first.
    """
    step_by_step = Ruleset(fractional="v3", metadata={})
    all_definitions: dict[str, Any] = {}
    for number, change in enumerate(changes):
        put = {key: value for key, value in change.items() if value is not None}
        removed = [key for key, value in change.items() if value is None]
        step_by_step = step_by_step.with_changes(
            [Rule(key=k, is_segment=False, value=v, state=str(number)) for k, v in put.items()],
            removed,
        )
        all_definitions = {k: v for k, v in all_definitions.items() if k not in removed} | put
    at_once = rules(dict(sorted(all_definitions.items(), reverse=True)))

    settled = at_once.flags.keys() - _with_circles(all_definitions)
    assert step_by_step.flags.keys() == at_once.flags.keys()
    for context in CONTEXTS:
        outcomes = {key: outcome(at_once, key, context) for key in settled}
        assert {key: outcome(step_by_step, key, context) for key in settled} == outcomes
        bodies = sorted(flag.evaluate(context, NOW).body for flag in step_by_step.flags.values())
        together: list[bytes] = []
        for portion in step_by_step.bulk.evaluate(context, NOW):
            together += portion.bodies if isinstance(portion, BodyBlock) else portion
        assert sorted(together) == bodies
