"""A bulk evaluation gives the outcomes of single ones, within its budget."""

import gc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.evaluation.body_block import BodyBlock
from app.evaluation.bulk import BLOCKS_BYTES_MAX, BLOCKS_MAX, BULK_STEPS_MAX, Bulk
from app.evaluation.engine import ErrorCode, Flag, FlagSet
from app.evaluation.explain import explain
from app.evaluation.run import STEPS_MAX
from tests.examples import examples
from tests.unit.evaluation.rule_grammar import ANY_RULE, ANY_VALUE, CONTEXTS, SEGMENTS, targetings
from tests.unit.evaluation.rules import NOW, compiled, var

COSTLY = {"if": [{"some": [var("list"), {"==": [var(""), "x"]}]}, "a", "b"]}
RULES = targetings | ANY_RULE
ATTRIBUTES = st.sampled_from(["plan", "country"])
TEXTS = st.sampled_from(["", "a", "b", "1", "true", "null"])


def definition(targeting: Any, **members: Any) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"a": "A", "b": "B", "true": "yes", "false": "no"},
        "defaultVariant": "b",
        "targeting": targeting,
        **members,
    }


def asking() -> st.SearchStrategy[Any]:
    """Return rules that mostly test one attribute against some strings."""
    look = ATTRIBUTES.map(lambda name: {"var": name})
    equal = st.tuples(st.sampled_from(["==", "===", "!="]), look, TEXTS).map(
        lambda parts: {parts[0]: list(parts[1:])}
    )
    among = st.tuples(look, st.lists(TEXTS)).map(lambda parts: {"in": list(parts)})
    several = st.tuples(st.sampled_from(["and", "or"]), equal, among).map(
        lambda parts: {parts[0]: list(parts[1:])}
    )
    condition = equal | among | several | equal.map(lambda rule: {"!": [rule]})
    outcome = st.sampled_from(["a", "b", None, True, "absent", {"fractional": [["a"], ["b"]]}])
    branches = st.lists(st.tuples(condition, outcome), min_size=1, max_size=3)
    return condition | branches.map(lambda pairs: {"if": [part for pair in pairs for part in pair]})


def together(flags: list[Flag], context: Mapping[str, Any]) -> list[bytes]:
    return bodies_of(bulk_of(flags), context)


def bulk_of(flags: list[Flag]) -> Bulk:
    named = {str(number): flag for number, flag in enumerate(flags)}
    return Bulk().with_changes(named, named)


def bodies_of(bulk: Bulk, context: Mapping[str, Any]) -> list[bytes]:
    bodies: list[bytes] = []
    for part in bulk.evaluate(context, NOW):
        if isinstance(part, BodyBlock):
            assert part.joined == b",".join(part.bodies)
        bodies += part.bodies if isinstance(part, BodyBlock) else part
    return bodies


@pytest.mark.slow
@given(
    rules=st.lists(RULES, max_size=6),
    context=CONTEXTS | st.dictionaries(st.sampled_from(["a", "b", "targetingKey"]), ANY_VALUE),
    fractional=st.sampled_from(["v2", "v3"]),
)
@hypothesis_settings(max_examples=examples(150), deadline=None)
def test_bulk_outcomes_equal_single_outcomes(
    rules: list[Any], context: dict[str, Any], fractional: str
) -> None:
    flags = [compiled(definition(rule), segments=SEGMENTS, fractional=fractional) for rule in rules]

    outcomes = together(flags, context)

    assert sorted(outcomes) == sorted(flag.evaluate(context, NOW).body for flag in flags)


@pytest.mark.slow
@given(
    rules=st.lists(asking(), min_size=10, max_size=40),
    contexts=st.lists(st.dictionaries(ATTRIBUTES, TEXTS | ANY_VALUE), min_size=1, max_size=8),
)
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_bulk_cached_block_serves_similar_contexts(
    rules: list[Any], contexts: list[dict[str, Any]]
) -> None:
    flags = [
        compiled(definition(rule, metadata={"n": number})) for number, rule in enumerate(rules)
    ]
    bulk = bulk_of(flags)

    for context in contexts:
        assert sorted(bodies_of(bulk, context)) == sorted(
            flag.evaluate(context, NOW).body for flag in flags
        )


@given(rule=RULES | asking(), context=CONTEXTS, fractional=st.sampled_from(["v2", "v3"]))
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_replaced_flag_is_freed_without_collector(
    rule: Any, context: dict[str, Any], fractional: str
) -> None:
    # Loaded objects are frozen for the collector: a cycle would never be freed.
    gc.disable()
    gc.freeze()
    try:
        flag = compiled(definition(rule), segments=SEGMENTS, fractional=fractional)
        bulk = bulk_of([flag] * 5)
        bodies_of(bulk, context)
        del flag, bulk
        assert gc.collect() == 0
    finally:
        gc.unfreeze()
        gc.enable()


def _blocks() -> list[BodyBlock]:
    return [part for part in gc.get_objects() if isinstance(part, BodyBlock)]


def _later_blocks(earlier: list[BodyBlock]) -> list[BodyBlock]:
    """Return the live blocks without those of earlier tests, which a running service may use."""
    known = set(map(id, earlier))
    return [block for block in _blocks() if id(block) not in known]


def test_block_cache_many_strings_stays_bounded() -> None:
    earlier = _blocks()
    flags = [
        compiled(definition({"if": [{"==": [var("plan"), f"plan-{number}"]}, "a"]}))
        for number in range(200)
    ]
    bulk = bulk_of(flags)

    for number in range(200):
        bodies_of(bulk, {"plan": f"plan-{number}"})

    blocks = _later_blocks(earlier)
    assert 0 < len(blocks) <= 2 * BLOCKS_MAX


def test_block_cache_large_bodies_stays_bounded() -> None:
    earlier = _blocks()
    variants = {"a": "a" * 20_000, "b": "b" * 20_000}
    flags = [
        compiled(definition({"if": [{"==": [var("user"), str(n)]}, "a", "b"]}, variants=variants))
        for n in range(30)
    ]
    bulk = bulk_of(flags)

    for number in range(30):
        bodies = bodies_of(bulk, {"user": str(number)})
        alone = [flag.evaluate({"user": str(number)}, NOW).body for flag in flags]
        assert sorted(bodies) == sorted(alone)

    blocks = _later_blocks(earlier)
    assert 0 < sum(len(part.joined) for part in blocks) <= 2 * BLOCKS_BYTES_MAX


@pytest.mark.slow
@given(rule=RULES, context=CONTEXTS, fractional=st.sampled_from(["v2", "v3"]))
@hypothesis_settings(max_examples=examples(150), deadline=None)
def test_explained_outcome_equals_served_outcome(
    rule: Any, context: dict[str, Any], fractional: str
) -> None:
    flag = compiled(definition(rule), segments=SEGMENTS, fractional=fractional)

    explained = explain(
        "flag",
        definition(rule),
        FlagSet(SEGMENTS, fractional, {}),
        context=context,
        now=NOW,
    )

    assert explained.outcome == flag.evaluate(context, NOW).outcome


def test_bulk_costly_flag_fails_alone_in_batch() -> None:
    cheap = [compiled(definition({"if": [var("on"), "a"]})) for _ in range(100)]
    costly = compiled(definition(COSTLY))
    context = {"on": True, "list": ["y"] * STEPS_MAX}

    outcomes = together([*cheap[:50], costly, *cheap[50:]], context)

    assert outcomes.count(cheap[0].evaluate(context, NOW).body) == 100
    assert outcomes.count(costly.evaluate(context, NOW).body) == 1
    assert costly.evaluate(context, NOW).outcome.error_code is ErrorCode.GENERAL


class VisitedList(list[Any]):
    """A list that counts the elements that loops visit."""

    visits = 0

    def __iter__(self) -> Iterator[Any]:
        for element in super().__iter__():
            self.visits += 1
            yield element


def test_bulk_costly_flags_share_one_budget() -> None:
    # Each is just within its own limit.
    costly = [compiled(definition(COSTLY)) for _ in range(300)]
    cheap = compiled(definition({"if": [var("on"), "a"]}))
    values = VisitedList(["y"] * (STEPS_MAX // 4))
    context = {"on": True, "list": values}
    assert costly[0].evaluate(context, NOW).outcome.variant == "b"
    assert values.visits == len(values)
    values.visits = 0

    outcomes = together([*costly, cheap], context)

    failed = [body for body in outcomes if b"too many steps" in body]
    within = len(costly) - len(failed)
    assert BULK_STEPS_MAX // STEPS_MAX * 0.9 < within < BULK_STEPS_MAX // STEPS_MAX * 2
    # The others are refused at once. All 300 would visit several times as many.
    assert values.visits <= (within + 1) * len(values)
    assert cheap.evaluate(context, NOW).body in outcomes


def test_bulk_portion_costs_at_most_one_flag() -> None:
    bulk = bulk_of([compiled(definition(COSTLY)) for _ in range(20)])
    portions = bulk.evaluate({"list": ["y"] * (STEPS_MAX // 4)}, NOW)

    sizes = [len(bodies) for bodies in portions if not isinstance(bodies, BodyBlock)]

    # An empty portion after each flag, and their outcomes at the end.
    assert sizes == [*[0] * 20, 20]
