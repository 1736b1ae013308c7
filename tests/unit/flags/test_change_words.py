"""Changes in words: exact sentences of real pairs, and what holds for any JSON."""

import re
import sys
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.views import ChangeView, EntryView, PropertiesChangeView
from app.environments.models import Properties
from app.flags.change_words.entries import describe_change, describe_changes, describe_properties
from app.flags.change_words.sentences import Sentence, Tense, plain_text
from tests.unit.evaluation.rule_grammar import ANY_RULE, ANY_VALUE
from tests.unit.flags.change_pairs import (
    ADULT,
    ALL_TESTERS,
    BETA,
    COUNTRY,
    GERMAN,
    GERMAN_SPEAKING,
    PAIRS,
    PLAN,
    PRO,
    STAFF,
    TEAM,
    flag,
    secret,
    setting,
    shares_of,
    split,
)

_VERB = re.compile(r"<([a-zA-Z ]+)\|([a-zA-Z ]*)>")
KEYS = {"flag": "new-checkout", "setting": "db.pool", "secret": "smtp.password", "segment": "staff"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
COMPARISONS = st.sampled_from([GERMAN, GERMAN_SPEAKING, STAFF, TEAM, PRO, BETA, ADULT, ALL_TESTERS])
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        lambda operator, members: {operator: members},
        st.sampled_from(["and", "or", "!"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)
OUTCOMES = st.sampled_from(
    ["a", "b", None, True, shares_of(("a", 1), ("b", 9)), shares_of(("b",), ("a",), by=PLAN)]
)
TARGETINGS = st.lists(st.tuples(CONDITIONS, OUTCOMES), max_size=4).flatmap(
    lambda rules: st.lists(OUTCOMES, max_size=1).map(
        lambda rest: {"if": [*(part for rule in rules for part in rule), *rest]}
    )
)
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["ENABLED", "DISABLED"]) | VALUES,
        "variants": st.sampled_from([{"a": 1, "b": 2}, {"a": True, "b": False}]) | VALUES,
        "defaultVariant": st.sampled_from(["a", "b", None]) | VALUES,
        "targeting": TARGETINGS | CONDITIONS | VALUES,
        "metadata": VALUES,
        "guards": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("ab"), "variant": VALUES})
        )
        | VALUES,
        "owner": VALUES,
    },
)


def view(entry: dict[str, Any] | None) -> EntryView | None:
    return None if entry is None else EntryView(**({"version": 1} | entry))


def marked(sentence: Sentence) -> str:
    return "".join(f"**{part.text}**" if part.is_name else part.text for part in sentence)


def described(kind: str, before: Any, after: Any) -> list[Sentence]:
    """Describe values that must not be changed by it, and check the limits of the sentences."""
    values = deepcopy(before), deepcopy(after)
    old, new = (
        EntryView(kind=kind, value=value, schema=None, description=None, version=1)
        for value in values
    )
    sentences = describe_change("key", old, new)
    planned = describe_change("key", old, new, tense=Tense.PLANNED)
    assert len(planned) == len(sentences)
    assert all(len(plain_text(sentence)) <= 200 for sentence in planned)
    assert len(sentences) <= 21
    assert all(0 < len(plain_text(sentence)) <= 200 for sentence in sentences)
    return sentences


@pytest.mark.parametrize("tense", Tense)
@pytest.mark.parametrize("name", PAIRS)
def test_real_change_has_these_sentences(name: str, tense: Tense) -> None:
    before, after, expected = PAIRS[name]
    key = KEYS[(after or before or {})["kind"]]

    sentences = describe_change(key, view(before), view(after), tense=tense)

    form = r"\1" if tense is Tense.PAST else r"\2"
    assert list(map(marked, sentences)) == [_VERB.sub(form, text) for text in expected]


@pytest.mark.parametrize("name", PAIRS)
def test_opposite_of_a_change_has_a_sentence(name: str) -> None:
    before, after, _ = PAIRS[name]

    assert describe_change("key", view(after), view(before))
    assert describe_change("key", view(before), view(before)) == []


@pytest.mark.slow
@given(FLAGS, FLAGS)
def test_flag_has_sentences_only_if_it_differs(before: Any, after: Any) -> None:
    assert bool(described("flag", before, after)) is not are_equal(before, after)
    assert described("flag", before, before) == []


@given(CONDITIONS | VALUES, CONDITIONS | VALUES)
def test_segment_has_sentences_only_if_it_differs(before: Any, after: Any) -> None:
    assert bool(described("segment", before, after)) is not are_equal(before, after)
    assert described("segment", before, before) == []


@given(VALUES, VALUES)
def test_setting_has_sentences_only_if_it_differs(before: Any, after: Any) -> None:
    assert bool(described("setting", before, after)) is not are_equal(before, after)


@given(ANY_VALUE | ANY_RULE, ANY_VALUE | ANY_RULE)
def test_any_stored_json_is_described(before: Any, after: Any) -> None:
    for kind in ("flag", "segment", "setting"):
        described(kind, before, after)
        described(kind, {"targeting": before}, {"targeting": after})
    described("flag", dict.fromkeys(("variants", "guards"), before), {"metadata": after})


def test_masked_secret_never_shows_a_value() -> None:
    before, after = setting("hunter2"), secret(2)

    for sides in ((before, after), (after, before), (None, after)):
        texts = [plain_text(s) for s in describe_change("key", *map(view, sides))]
        assert texts
        assert "hunter2" not in "".join(texts)


def test_many_changes_are_cut_with_their_number() -> None:
    changes = [
        ChangeView(key=f"k{number}", before=view(setting(1)), after=view(setting(2)), patch=[])
        for number in range(30)
    ]

    sentences = describe_changes(changes, None, hidden=1_000)

    assert len(sentences) == 21
    assert plain_text(sentences[-1]) == "and 1,010 more changes"


def test_change_set_names_the_key_in_each_sentence() -> None:
    changes = [
        ChangeView(
            key="a", before=view(split(("on", 1), ("off", 9))), after=view(flag()), patch=[]
        ),
        ChangeView(key="b", before=None, after=view(setting(2)), patch=[]),
        ChangeView(key="c", before=view(flag()), after=None, patch=[]),
    ]

    assert list(map(marked, describe_changes(changes, None))) == [
        "**a**: Switched off: **off** is served to all",
        "Setting **b** was created: 2",
        "Flag **c** was deleted",
    ]


def test_properties_of_an_environment_are_described() -> None:
    before = Properties(metadata={"team": "a"}, fractional="v2", protected=False, version=1)
    after = Properties(
        metadata={"team": "b", "region": "eu"}, fractional="v3", protected=True, version=2
    )
    change = PropertiesChangeView(before=before, after=after, patch=[])

    assert list(map(marked, describe_properties(change))) == [
        'Metadata **team** of the environment changed from "a" to "b"',
        'Metadata **region** of the environment was added: "eu"',
        "Bucketing of splits changed from generation **v2** to **v3**",
        "The environment is now protected from deletion",
    ]


def _calls(number: int) -> int:
    """Return the number of Python calls that describe `number` rules in the opposite order."""
    rules = [[{"in": [COUNTRY, [f"c{rule}", "x"]]}, "on"] for rule in range(number)]
    changed = [[{"in": [COUNTRY, [f"c{rule}", "y"]]}, "on"] for rule in reversed(range(number))]
    before, after = (flag(*(part for rule in side for part in rule)) for side in (rules, changed))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        describe_change("key", view(before), view(after))
    finally:
        sys.setprofile(None)
    return calls


def test_cost_of_200_rules_grows_linearly() -> None:
    assert _calls(200) < 2.5 * _calls(100)
