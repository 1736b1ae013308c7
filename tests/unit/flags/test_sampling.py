"""The sample, and that a preview equals the evaluation of the changed flag."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.access.permissions import ALL_KEYS
from app.configuration.changes.models import Content, Kind
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.ruleset import Rule, Ruleset
from app.flags.drafts import Draft
from app.flags.preview import preview
from app.flags.preview_views import PreviewRequest, SampleRequest
from app.flags.sampling import outcome_name, sampled_contexts, varied_attributes
from tests.examples import examples
from tests.factories import flag

KEYS = 50
VARIANTS = ("on", "off", None)
COMPANY = {"cat": [{"var": "$flagd.flagKey"}, {"var": "company"}]}

outcomes = st.one_of(
    st.sampled_from(VARIANTS),
    st.builds(
        lambda by, on: {"fractional": [*by, ["on", on], ["off", 100 - on]]},
        st.sampled_from([[], [{"var": "company"}], [COMPANY]]),
        st.integers(0, 100),
    ),
)
conditions = st.sampled_from(
    [
        {"==": [{"var": "plan"}, "pro"]},
        {"ends_with": [{"var": "targetingKey"}, "7"]},
        {"!": [{"var": "company"}]},
    ]
)
definitions = st.builds(
    lambda state, default, condition, first, rest: flag(
        state=state, defaultVariant=default, targeting={"if": [condition, first, rest]}
    ),
    st.sampled_from(["ENABLED", "DISABLED"]),
    st.sampled_from(["on", "off"]),
    conditions,
    outcomes,
    outcomes,
)


def _draft(before: Any, after: Any) -> Draft:
    rules = Ruleset(fractional="v3", metadata={})
    if before is not None:
        rules = rules.with_changes([Rule(key="f", is_segment=False, value=before, state="1")], [])
    contents = [
        None if value is None else Content(kind=Kind.FLAG, value=value) for value in (before, after)
    ]
    return Draft(rules=rules, keys=ALL_KEYS, before={"f": contents[0]}, after={"f": contents[1]})


@settings(max_examples=examples(60), deadline=None)
@given(before=st.none() | definitions, after=definitions, plan=st.sampled_from(["pro", "free"]))
def test_preview_equals_evaluating_the_changed_flag(before: Any, after: Any, plan: str) -> None:
    base = {"plan": plan}
    request = PreviewRequest(changes={"f": None}, sample=SampleRequest(keys=KEYS, context=base))

    (of_flag,) = preview(_draft(before, after), request, 1, 0).flags

    sample = of_flag.sample
    evaluated: Counter[tuple[str, str]] = Counter()
    flag_set = FlagSet({}, "v3", {})
    for context in sampled_contexts(base, sample.attributes, KEYS):
        names = [
            "FLAG_NOT_FOUND"
            if definition is None
            else outcome_name(Flag("f", definition, flag_set).evaluate(context, 0).outcome)
            for definition in (before, after)
        ]
        evaluated[names[0], names[1]] += 1
    counted = {(item.before, item.after): item.keys for item in sample.movements}
    assert (counted, sample.keys) == (dict(evaluated), KEYS)
    assert sample.changed == sum(item.keys for item in sample.movements if item.changed)


@pytest.mark.parametrize(
    ("targeting", "base", "varied"),
    [
        (None, {}, []),
        ({"fractional": [["on", 1], ["off", 1]]}, {}, []),
        ({"fractional": [{"var": "company"}, ["on"]]}, {}, ["company"]),
        ({"fractional": [{"var": ["company", "none"]}, ["on"]]}, {}, ["company"]),
        ({"if": [True, {"fractional": [COMPANY, ["on"]]}]}, {}, ["company"]),
        ({"fractional": [{"var": "user.team"}, ["on"]]}, {"user": {}}, ["user.team"]),
        ({"fractional": [{"var": "user.team"}, ["on"]]}, {"user": {"team": 1}}, []),
        ({"fractional": [{"var": ""}, ["on"]]}, {}, []),
        ({"fractional": []}, {}, []),
        ({"fractional": [{"var": 1}, ["on"]]}, {}, []),
    ],
)
def test_sample_varies_the_attributes_of_splits(
    targeting: Any, base: dict[str, Any], varied: list[str]
) -> None:
    assert varied_attributes([targeting], base) == ["targetingKey", *varied]


def test_sampled_contexts_share_the_base_unchanged() -> None:
    base = {"user": {"plan": "pro"}, "tags": ["a"]}

    contexts = list(sampled_contexts(base, ["targetingKey", "user.team", "tags.0"], 2))

    assert contexts == [
        {"targetingKey": f"sample-{n}", "user": {"plan": "pro", "team": f"sample-{n}"}}
        | {"tags": {"0": f"sample-{n}"}}
        for n in range(2)
    ]
    assert base == {"user": {"plan": "pro"}, "tags": ["a"]}
