"""All flags at once must give what each gives alone, and not cost more than all may."""

import time
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.evaluation.bulk import BULK_STEPS_MAX, Bulk
from app.evaluation.engine import ErrorCode, Flag
from app.evaluation.explain import explain
from app.evaluation.run import STEPS_MAX
from tests.unit.rule_grammar import ANY_RULE, ANY_VALUE, CONTEXTS, SEGMENTS, targetings
from tests.unit.rules import NOW, compiled, var

COSTLY = {"if": [{"some": [var("list"), {"==": [var(""), "x"]}]}, "a", "b"]}
RULES = targetings | ANY_RULE


def definition(targeting: Any, **members: Any) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"a": "A", "b": "B", "true": "yes", "false": "no"},
        "defaultVariant": "b",
        "targeting": targeting,
        **members,
    }


def together(flags: list[Flag], context: Mapping[str, Any]) -> list[bytes]:
    bulk = Bulk(flags)
    return bulk.fixed + [body for some in bulk.evaluate(context, NOW) for body in some]


@given(
    rules=st.lists(RULES, max_size=6),
    context=CONTEXTS | st.dictionaries(st.sampled_from(["a", "b", "targetingKey"]), ANY_VALUE),
    fractional=st.sampled_from(["v2", "v3"]),
)
@hypothesis_settings(max_examples=400, deadline=None)
def test_all_together_give_what_each_gives_alone(
    rules: list[Any], context: dict[str, Any], fractional: str
) -> None:
    flags = [compiled(definition(rule), segments=SEGMENTS, fractional=fractional) for rule in rules]

    found = together(flags, context)

    assert sorted(found) == sorted(flag.evaluate(context, NOW).body for flag in flags)


@given(rule=RULES, context=CONTEXTS, fractional=st.sampled_from(["v2", "v3"]))
@hypothesis_settings(max_examples=400, deadline=None)
def test_an_explained_evaluation_gives_what_is_served(
    rule: Any, context: dict[str, Any], fractional: str
) -> None:
    flag = compiled(definition(rule), segments=SEGMENTS, fractional=fractional)

    explained = explain(
        "flag",
        definition(rule),
        segments=SEGMENTS,
        fractional=fractional,
        metadata={},
        context=context,
        now=NOW,
    )

    assert explained.outcome == flag.evaluate(context, NOW).outcome


def test_a_costly_flag_fails_alone_among_those_of_its_batch() -> None:
    cheap = [compiled(definition({"if": [var("on"), "a"]})) for _ in range(100)]
    costly = compiled(definition(COSTLY))
    context = {"on": True, "list": ["y"] * STEPS_MAX}

    found = together([*cheap[:50], costly, *cheap[50:]], context)

    assert found.count(cheap[0].evaluate(context, NOW).body) == 100
    assert found.count(costly.evaluate(context, NOW).body) == 1
    assert costly.evaluate(context, NOW).outcome.error_code is ErrorCode.GENERAL


def test_costly_flags_have_one_budget_together_and_cheap_ones_are_not_hurt() -> None:
    # Each is just within its own limit.
    costly = [compiled(definition(COSTLY)) for _ in range(300)]
    cheap = compiled(definition({"if": [var("on"), "a"]}))
    context = {"on": True, "list": ["y"] * (STEPS_MAX // 4)}
    assert costly[0].evaluate(context, NOW).outcome.variant == "b"
    before = time.process_time()

    found = together([*costly, cheap], context)

    # Some 50 evaluations of at most 5 ms each, and 250 that are refused at once.
    assert time.process_time() - before < 2
    failed = [body for body in found if b"too many steps" in body]
    within = len(costly) - len(failed)
    assert BULK_STEPS_MAX // STEPS_MAX * 0.9 < within < BULK_STEPS_MAX // STEPS_MAX * 2
    assert cheap.evaluate(context, NOW).body in found


def test_no_turn_takes_longer_than_one_costly_flag() -> None:
    bulk = Bulk([compiled(definition(COSTLY)) for _ in range(20)])
    turns = bulk.evaluate({"list": ["y"] * (STEPS_MAX // 4)}, NOW)

    sizes = [len(bodies) for bodies in turns]

    assert sizes == [1] * 20
