"""The rules of needed flags in place of the operator `flag`, for flagd's own evaluators."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from app.evaluation.engine import Flag, FlagSet
from app.evaluation.inlining import COPIED_BYTES_MAX, Inliner, NotInlinedError
from app.evaluation.needs import needs_of
from app.evaluation.ruleset import Ruleset
from tests.examples import examples
from tests.unit.evaluation.rules import NOW, var
from tests.unit.evaluation.test_prerequisites import needing, rules, switch

OWN_KEY = var("$flagd.flagKey")
SPLIT = {"fractional": [{"cat": [OWN_KEY, var("targetingKey")]}, ["on", 30], ["off", 70]]}
SEGMENTS: dict[str, Any] = {
    "ones": {"==": [var("x"), 1]},
    "half": {"===": [SPLIT, "on"]},
    "nested": {"or": [{"$ref": "half"}, {"$ref": "ones"}]},
}
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"targetingKey": "u", "x": True, "v": "on"},
    {"targetingKey": "u", "x": "1", "v": "x"},
    *({"targetingKey": f"user-{n}", "x": n % 4, "v": ["on", "off"][n % 2]} for n in range(24)),
]


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)


def inlined(
    definitions: Mapping[str, Any], fractional: str = "v3"
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the flags for evaluators, and why each other one is left out."""
    inliner = Inliner(definitions, SEGMENTS, fractional)
    flags, left_out = {}, {}
    for key in definitions:
        try:
            flags[key] = inliner.inlined(key)
        except NotInlinedError as error:
            left_out[key] = str(error)
    return flags, left_out


def _ours(of: Ruleset, key: str, context: dict[str, Any]) -> str | None:
    outcome = of.flags[key].evaluate(context, NOW).outcome
    return None if outcome.error_code else outcome.variant or None


def _theirs(core: FlagdCore, key: str, context: dict[str, Any]) -> str | None:
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    user = EvaluationContext(context.get("targetingKey"), attributes)
    try:
        return core.resolve_boolean_value(key, False, user).variant
    except OpenFeatureError:
        return None


RULES: list[Any] = [
    None,
    {"if": [{"==": [var("x"), 1]}, "on"]},
    {"if": [{"==": [var("x"), 1]}, "on", "missing"]},
    {"if": [{"==": [OWN_KEY, "a"]}, "on", "off"]},
    var("v"),
    SPLIT,
    {"fractional": [["on", 1], ["off", 1]]},
    {"fractional": [["on", 1], ["off", 0]]},
    {"fractional": [var("v"), ["on"], ["off"]]},
    {"if": [{"$ref": "nested"}, "on", "off"]},
    {"if": [{"some": [[1, 2], {"==": [var(""), 2]}]}, "on"]},
    {"if": [{"==": [{"var": ""}, 1]}, "on"]},
]


@st.composite
def _definition(draw: Any, needed: list[str]) -> dict[str, Any]:
    """Return a flag that may need these flags."""
    members: dict[str, Any] = {"state": draw(st.sampled_from(["ENABLED"] * 5 + ["DISABLED"]))}
    choices = list(RULES)
    if needed:
        key = st.sampled_from(needed)
        choices += [
            {"if": [{"and": [{"flag": [draw(key), "on"]}, {"<": [var("x"), 2]}]}, "on"]},
            {"if": [{"flag": [draw(key), "off"]}, "on", "off"]},
            {"flag": [draw(key)]},
            {"if": [{"===": [{"flag": draw(key)}, "off"]}, "on", SPLIT]},
            {"if": [{"some": [[1], {"flag": [draw(key), "on"]}]}, "on"]},
        ] * 3
        needs = draw(st.lists(key, max_size=2, unique=True))
        if needs:
            members["prerequisites"] = [
                {"flag": name, "variant": draw(st.sampled_from(["on", "off"]))} for name in needs
            ]
    rule = draw(st.sampled_from(choices))
    if rule is not None:
        members["targeting"] = rule
    members["defaultVariant"] = draw(st.sampled_from(["on", "off", None]))
    if draw(st.booleans()):
        members["offVariant"] = draw(st.sampled_from(["on", "off", None]))
    return switch(**members)


@st.composite
def _sets_of_flags(draw: Any) -> dict[str, Any]:
    keys = list("abcde")
    return {key: draw(_definition(keys[at + 1 :])) for at, key in enumerate(keys)}


@pytest.mark.slow
@given(definitions=_sets_of_flags())
@hypothesis_settings(max_examples=examples(400), deadline=None)
def test_flagd_gives_the_variant_of_each_inlined_flag(definitions: dict[str, Any]) -> None:
    of = rules(definitions, segments=SEGMENTS)
    flags, left_out = inlined(definitions)
    core = FlagdCore()
    known = {
        key: {name: flag[name] for name in flag if name != "offVariant"}
        for key, flag in flags.items()
    }
    core.set_flags(msgspec.json.encode({"flags": known, "$evaluators": _expanded()}).decode())

    for key in flags:
        assert not any(needs_of(flags[key]))
        # Without a targeting key, `cat` differs in flagd: see docs/operators.md.
        for context in CONTEXTS[1:]:
            assert _theirs(core, key, context) == _ours(of, key, context), (key, context)
    # Only a flag that needs others may be left out.
    assert all(any(needs_of(definitions[key])) for key in left_out)


@pytest.mark.slow
@given(definitions=_sets_of_flags(), fractional=st.sampled_from(["v2", "v3"]))
@hypothesis_settings(max_examples=examples(400), deadline=None)
def test_inlined_flag_gives_the_variant_of_the_flag(
    definitions: dict[str, Any], fractional: str
) -> None:
    of = rules(definitions, Ruleset(fractional=fractional, metadata={}), segments=SEGMENTS)
    flags, _ = inlined(definitions, fractional)

    for key, definition in flags.items():
        flag = Flag(key, definition, FlagSet(SEGMENTS, fractional, {}))
        for context in CONTEXTS:
            outcome = flag.evaluate(context, NOW).outcome
            variant = None if outcome.error_code else outcome.variant or None
            assert variant == _ours(of, key, context), (key, context)


def _expanded() -> dict[str, Any]:
    """Return the segments without references, which flagd's evaluators replace only once."""
    nested = {"or": [SEGMENTS["half"], SEGMENTS["ones"]]}
    return {**SEGMENTS, "nested": nested}


@pytest.mark.parametrize(
    ("rule", "fractional", "reason"),
    [
        ({"fractional": [["on", 1], ["off", 1]]}, "v3", "splits by the targeting key"),
        ({"fractional": [["on", 1], ["off", 1]]}, "v2", None),
        ({"fractional": [["on", 1], ["off", 0]]}, "v3", None),
        ({"if": [{"==": [{"var": ""}, 1]}, "on"]}, "v3", "reads the whole context"),
        ({"if": [{"==": [{"var": {"cat": ["a", "b"]}}, 1]}, "on"]}, "v3", "computed attribute"),
    ],
)
def test_rule_that_depends_on_its_flag_is_left_out(
    rule: Any, fractional: str, reason: str | None
) -> None:
    base = switch(targeting=rule)
    flags, left_out = inlined({"base": base, "flag": needing("base")}, fractional)

    assert "base" in flags
    assert flags["base"]["targeting"] == rule
    if reason is None:
        assert left_out == {}
    else:
        assert left_out.keys() == {"flag"}
        assert reason in left_out["flag"]


@pytest.mark.parametrize(
    "definitions",
    [
        {"flag": needing("missing")},
        {"flag": needing("flag")},
        {"flag": needing("b"), "b": needing("flag")},
    ],
)
def test_flag_that_fails_is_left_out(definitions: dict[str, Any]) -> None:
    flags, left_out = inlined(definitions)

    assert flags == {}
    assert left_out.keys() == definitions.keys()


def test_copies_that_double_are_bounded() -> None:
    text = {"if": [{"in": [var("x"), ["y" * 1_000]]}, "on"]}
    definitions = {"f00": switch(targeting=text)}
    for number in range(1, 17):
        needed = {"flag": [f"f{number - 1:02}", "on"]}
        rule = {"if": [{"and": [needed, {"!": [needed]}, needed, needed]}, "on"]}
        definitions[f"f{number:02}"] = switch(targeting=rule)

    flags, left_out = inlined(definitions)

    assert len(msgspec.json.encode(flags)) < COPIED_BYTES_MAX * 1.1
    assert left_out
    assert flags.keys() | left_out.keys() == definitions.keys()
