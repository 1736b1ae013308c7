"""Flags that share conditions and are drawn in one pass have the outcomes of single flags."""

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.evaluation.body_block import BodyBlock
from app.evaluation.choice_groups import groupable
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.ruleset import Rule, Ruleset, decode_definition
from app.evaluation.run import STEPS_MAX
from tests.examples import examples
from tests.unit.evaluation.rule_grammar import ANY_RULE, ANY_VALUE, CONTEXTS, targetings
from tests.unit.evaluation.rules import NOW, var

# In these, attributes that are tested and split by have unusual types, characters and lengths.
TEXTS = st.sampled_from(["", "a", "b", "DE", "1.4.0", "x@example.org", "Köln", "\ud800", "c" * 90])
VALUES = TEXTS | st.text(max_size=12) | st.sampled_from(["d" * 64, "d" * 256, "e" * 20_000])
SOME_CONTEXTS = CONTEXTS | st.dictionaries(
    st.sampled_from(["targetingKey", "plan", "country", "email", "version", "age", "list"]),
    VALUES | ANY_VALUE,
)
KEYS = st.sampled_from(["flag", "a", "k" * 64, "k" * 65, "k" * 250]).flatmap(
    lambda start: st.integers(0, 30).map(lambda number: f"{start}{number}")
)

CONDITIONS = st.one_of(
    *(
        st.builds(lambda name, text, op=op: {op: [var(name), text]}, name, text)
        for op in ("==", "===", "!=", "ends_with")
        for name in [st.sampled_from(["plan", "country", "email"])]
        for text in [st.sampled_from(["a", "b", "DE", "", "1"])]
    ),
    st.sampled_from(
        [
            {"in": [var("country"), ["DE", "FR", "a"]]},
            {"in": [var("country"), ["DE", 1]]},
            {"sem_ver": [var("version"), ">=", "1.2.0"]},
            {">": [var("age"), 17]},
            {"and": [{"==": [var("plan"), "a"]}, {"==": [var("country"), "DE"]}]},
            {"$ref": "german"},
            {"or": [{"$ref": "adult"}, {"$ref": "german"}]},
            {"$ref": "tenth"},
            {"==": [var("$flagd.flagKey"), "flag1"]},
            {"<": [var("$flagd.timestamp"), NOW]},
            {"some": [var("list"), {"==": [var(""), "x"]}]},
            var("plan"),
            var("plan", "a"),
            {"$ref": "absent"},
            True,
        ]
    ),
)
SEGMENTS: Mapping[str, Any] = {
    "german": {"==": [var("country"), "DE"]},
    "adult": {"and": [{">=": [var("age"), 18]}, {"!": [{"$ref": "german"}]}]},
    "tenth": {"==": [{"fractional": [["in", 10], ["out", 90]]}, "in"]},
}
OTHER_SEGMENTS = [
    {"german": {"in": [var("country"), ["DE", "AT"]]}},
    {"adult": {">=": [var("age"), 21]}},
    {"tenth": {"==": [var("plan"), "a"]}, "german": {"$ref": "tenth"}},
]
BUCKETS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "true", "absent", None]), st.integers(0, 40)).map(list),
    min_size=1,
    max_size=4,
)
BUCKETINGS = st.sampled_from(
    [
        [],
        [var("email")],
        [var("age")],
        [{"cat": [var("$flagd.flagKey"), var("targetingKey")]}],
        [{"cat": ["", var("email")]}],
        [{"cat": ["s" * 65, var("email")]}],
        [{"cat": [var("email"), var("$flagd.flagKey")]}],
        [{"merge": [["a"], 1]}],
    ]
)
SPLITS = st.builds(lambda by, buckets: {"fractional": [*by, *buckets]}, BUCKETINGS, BUCKETS)
ANSWERS = st.sampled_from(["a", "b", None, True, "absent", var("plan")]) | SPLITS


# Rules that mostly choose among known answers by conditions.
CHOOSING: st.SearchStrategy[Any] = st.deferred(
    lambda: st.builds(
        lambda pairs, rest: {"if": [*(part for pair in pairs for part in pair), rest]},
        st.lists(st.tuples(CONDITIONS, ANSWERS), max_size=4),
        ANSWERS | CHOOSING,
    )
)
RULES = SPLITS | CHOOSING | targetings | ANY_RULE


def definition(targeting: Any) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"a": "A", "b": "B", "true": "yes", "false": "no"},
        "defaultVariant": "b",
        "targeting": targeting,
    }


def put(key: str, value: Any, *, is_segment: bool = False) -> Rule:
    return Rule(key=key, is_segment=is_segment, value=value, state=repr(value))


def ruleset(
    targetings_by_key: Mapping[str, Any],
    fractional: str = "v3",
    segments: Mapping[str, Any] = SEGMENTS,
) -> Ruleset:
    flags = [put(key, definition(targeting)) for key, targeting in targetings_by_key.items()]
    named = [put(key, value, is_segment=True) for key, value in segments.items()]
    return Ruleset(fractional=fractional, metadata={}).with_changes([*named, *flags], [])


def in_order(rules: Ruleset, context: Mapping[str, Any]) -> list[bytes]:
    bodies: list[bytes] = []
    for part in rules.bulk.evaluate(context, NOW):
        bodies += part.bodies if isinstance(part, BodyBlock) else part
    return bodies


def in_one_pass(rules: Ruleset, context: Mapping[str, Any]) -> list[bytes]:
    return sorted(in_order(rules, context))


def one_by_one(rules: Ruleset, context: Mapping[str, Any]) -> list[bytes]:
    """Evaluate each flag alone, compiled without shared parts."""
    flag_set = FlagSet(rules.segments, rules.fractional, {})
    flags = [Flag(key, decode_definition(raw), flag_set) for key, raw in rules.definitions.items()]
    return sorted(flag.evaluate(context, NOW).body for flag in flags)


@pytest.mark.slow
@given(
    targetings_by_key=st.dictionaries(KEYS, RULES, max_size=12),
    fractional=st.sampled_from(["v2", "v3"]),
    contexts=st.lists(SOME_CONTEXTS, min_size=1, max_size=5),
)
@hypothesis_settings(max_examples=examples(200), deadline=None)
def test_one_pass_answers_equal_single_answers(
    targetings_by_key: Mapping[str, Any], fractional: str, contexts: Sequence[Mapping[str, Any]]
) -> None:
    rules = ruleset(targetings_by_key, fractional)

    for context in contexts:
        assert in_one_pass(rules, context) == one_by_one(rules, context)
        singly = [flag.evaluate(context, NOW).body for flag in rules.flags.values()]
        assert sorted(singly) == one_by_one(rules, context)


@pytest.mark.slow
@given(
    targetings_by_key=st.dictionaries(KEYS, CHOOSING, min_size=1, max_size=8),
    changes=st.lists(st.sampled_from(OTHER_SEGMENTS), min_size=1, max_size=4),
    context=SOME_CONTEXTS,
)
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_changed_segment_replaces_shared_parts(
    targetings_by_key: Mapping[str, Any],
    changes: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any],
) -> None:
    before = ruleset(targetings_by_key)
    answers = in_one_pass(before, context)

    after = before
    for change in changes:
        changed = [put(key, value, is_segment=True) for key, value in change.items()]
        after = after.with_changes(changed, [])
        assert in_one_pass(after, context) == one_by_one(after, context)

    assert in_one_pass(before, context) == answers


@given(
    targetings_by_key=st.dictionaries(KEYS, CHOOSING | SPLITS, min_size=1, max_size=6),
    context=SOME_CONTEXTS,
)
@hypothesis_settings(max_examples=examples(50), deadline=None)
def test_ruleset_with_shared_parts_is_freed_at_once(
    targetings_by_key: Mapping[str, Any], context: Mapping[str, Any]
) -> None:
    gc.disable()
    gc.freeze()
    try:
        rules = ruleset(targetings_by_key)
        parts = rules.parts
        in_one_pass(rules, context)
        del rules
        assert not parts
    finally:
        gc.unfreeze()
        gc.enable()


@given(
    targetings_by_key=st.dictionaries(KEYS, RULES, max_size=8),
    contexts=st.lists(
        st.dictionaries(st.sampled_from(["targetingKey", "plan", "country", "email"]), VALUES),
        min_size=2,
        max_size=3,
    ),
)
@hypothesis_settings(max_examples=examples(50), deadline=None)
def test_order_of_flags_is_the_same_for_all_contexts(
    targetings_by_key: Mapping[str, Any], contexts: Sequence[Mapping[str, Any]]
) -> None:
    rules = ruleset(targetings_by_key)

    orders = [
        [msgspec.json.decode(body)["key"] for body in in_order(rules, context)]
        for context in contexts
    ]

    assert all(order == orders[0] for order in orders)


def test_equal_conditions_are_one_part() -> None:
    rules = ruleset(
        {
            "one": {"if": [{"ends_with": [var("email"), ".org"]}, "a", {"$ref": "german"}, "b"]},
            "two": {"if": [{"$ref": "german"}, "b", {"ends_with": [var("email"), ".org"]}, "a"]},
        }
    )
    one, two = (flag.choice for flag in rules.flags.values())

    assert one is not None
    assert two is not None
    assert one.conditions == two.conditions[::-1]
    assert len(groupable([*rules.flags.values()])) == 2


def test_condition_on_flag_key_is_not_shared() -> None:
    condition = {"==": [var("$flagd.flagKey"), "one"]}
    rules = ruleset({key: {"if": [condition, "a", "b"]} for key in ("one", "two")})

    assert not rules.parts
    assert [flag.evaluate({}, NOW).outcome.variant for flag in rules.flags.values()] == ["a", "b"]


def test_flags_with_conditions_of_their_own_stay_alone() -> None:
    rules = ruleset(
        {
            **{f"own{number}": {"if": [{">": [var("age"), number]}, "a"]} for number in range(10)},
            **{f"split{number}": {"fractional": [["a"], ["b"]]} for number in range(10)},
        }
    )

    assert len(groupable([*rules.flags.values()])) == 10


@pytest.mark.parametrize("operators", [1_200, 2_100])
def test_shared_part_counts_for_each_flag(operators: int) -> None:
    large = {"or": [{"==": [var("plan"), "c"]} for _ in range(operators // 3)]}
    twice = {"if": [{"$ref": "large"}, "a", {"!": [{"$ref": "large"}]}, "b"]}
    rules = ruleset(
        {"once": {"if": [{"$ref": "large"}, "a"]}, "twice": twice}, "v3", {"large": large}
    )

    assert in_one_pass(rules, {"plan": "c"}) == one_by_one(rules, {"plan": "c"})
    assert b"more than 2000 nodes" in in_one_pass(rules, {})[1]


@pytest.mark.parametrize("depth", [20, 28, 29, 30, 31, 32, 33, 40, 62, 66])
def test_shared_part_is_as_deep_as_its_place(depth: int) -> None:
    deep: Any = {"==": [var("plan"), "c"]}
    for _ in range(30):
        deep = {"!": [deep]}
    targeting: Any = {"if": [{"$ref": "deep"}, "a"]}
    nested: Any = {"$ref": "deep"}
    for _ in range(depth):
        nested = {"!!": [nested]}
    rules = ruleset({"flat": targeting, "nested": {"if": [nested, "a"]}}, "v3", {"deep": deep})

    assert in_one_pass(rules, {"plan": "c"}) == one_by_one(rules, {"plan": "c"})


def test_costly_condition_fails_only_its_flags() -> None:
    costly = {"some": [var("list"), {"==": [var(""), "x"]}]}
    cheap = {"if": [{"ends_with": [var("email"), ".org"]}, "a", "b"]}
    targetings_by_key = {f"cheap{number}": cheap for number in range(10)}
    rules = ruleset({**targetings_by_key, "costly": {"if": [costly, "a", "b"]}})
    context = {"list": ["y"] * STEPS_MAX, "email": "x@example.org"}

    bodies = in_one_pass(rules, context)

    assert bodies == one_by_one(rules, context)
    assert sum(b"too many steps" in body for body in bodies) == 1
