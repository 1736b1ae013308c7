"""Definitions as drafts, drafts as fields of a form, and both back without a loss."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.console.flag.definition import definition_of
from app.console.flag.draft_reader import advanced_reason, draft_of
from app.console.flag.forms import parse
from app.console.json_text import parse_json
from app.errors import Invalid, Malformed
from app.evaluation.rule_writer import write
from tests.factories import flag
from tests.paths import SHARED_DATA
from tests.unit.console.form_fields import fields_of
from tests.unit.evaluation.rule_grammar import targetings
from tests.unit.evaluation.test_rule_tree import TREES

EXAMPLE = SHARED_DATA / "example_flags.flagd.json"
TEXTS = st.text(max_size=5)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(min_size=1, max_size=4)
VALUES: tuple[st.SearchStrategy[Any], ...] = (
    st.booleans(),
    TEXTS,
    NUMBERS,
    st.dictionaries(NAMES, NUMBERS, max_size=2),
)
VARIANTS = st.one_of([st.dictionaries(NAMES, values, min_size=1, max_size=4) for values in VALUES])
DEFINITIONS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"state": st.sampled_from(["ENABLED", "DISABLED"]), "variants": VARIANTS},
    optional={
        "defaultVariant": st.none() | NAMES,
        "targeting": TREES.map(write) | targetings,
        "metadata": st.dictionaries(NAMES, TEXTS | NUMBERS | st.booleans(), max_size=3),
        "guards": st.just([]),
        "description": TEXTS,
    },
)


def is_storable(definition: Any) -> bool:
    """Return whether the API accepts the JSON: no Infinity, no NUL, at most 32 levels."""
    try:
        parse_json(json.dumps(definition), "value")
    except Invalid:
        return False
    return True


@pytest.mark.slow
@given(DEFINITIONS)
def test_definition_returns_from_its_form_to_the_byte(definition: Any) -> None:
    assume(is_storable(definition))
    draft = draft_of(definition, "text", 3)

    sent = parse(fields_of(draft))
    result = definition_of(sent, definition)

    assert sent == draft
    assert not result.errors
    assert json.dumps(result.definition) == json.dumps(definition)
    assert draft.view == ("json" if advanced_reason(definition) else "rules")


@pytest.mark.skipif(not EXAMPLE.exists(), reason="flagd's example is not here")
def test_example_flags_return_from_their_forms() -> None:
    flags = json.loads(EXAMPLE.read_text())["flags"]
    for definition in flags.values():
        assert advanced_reason(definition) is None
        draft = parse(fields_of(draft_of(definition, None, 1)))
        result = definition_of(draft, definition)
        assert json.dumps(result.definition) == json.dumps(definition)


def test_fields_in_another_order_move_the_items() -> None:
    rules = [part for name in "ab" for part in ({"var": name}, "on")]
    fields = list(fields_of(draft_of(flag(targeting={"if": rules}), None, 1)))
    moved = sorted(fields, key=lambda field: field[0].startswith("rules.0"))

    draft = parse(moved)

    assert [rule.condition.attribute for rule in draft.rules] == ["b", "a"]


@pytest.mark.parametrize(
    "fields",
    [
        [("rules", "x")],
        [("rules.0", "x"), ("rules.0.uid", "1")],
        [("rules.x.uid", "1")],
        [("view", "none")],
        [("version", "x")],
        [("rules.0.condition.kind", "none")],
        [(".".join(["rules", *["a"] * 300]), "x")],
    ],
)
def test_form_of_other_fields_is_malformed(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(Malformed):
        parse(fields)


def edited(definition: Any, **values: str) -> Any:
    """Return the result of typing into fields. Two underscores stand for a dot in a name."""
    by_name = {name.replace("__", "."): value for name, value in values.items()}
    fields = list(fields_of(draft_of(definition, None, 1)))
    assert by_name.keys() <= {name for name, _ in fields}
    draft = parse((name, by_name.get(name, value)) for name, value in fields)
    return definition_of(draft, definition)


SPLIT = {"fractional": [{"var": "email"}, ["on", 1], ["off", 3]]}
REVERSED = {"if": [{"<": [20, {"var": ["age", 0]}]}, "on"]}


@pytest.mark.parametrize(
    ("targeting", "values", "expected"),
    [
        # An edit of one part leaves the form of the others.
        (
            REVERSED,
            {"rules__0__condition__value": "21"},
            {"if": [{"<": [21, {"var": ["age", 0]}]}, "on"]},
        ),
        (
            REVERSED,
            {"rules__0__condition__operator": "lt"},
            {"if": [{"<": [{"var": ["age", 0]}, 20]}, "on"]},
        ),
        (
            REVERSED,
            {"rules__0__condition__operator": "not gt"},
            {"if": [{"!": {"<": [20, {"var": ["age", 0]}]}}, "on"]},
        ),
        (
            SPLIT,
            {"otherwise__by": "id"},
            {
                "fractional": [
                    {"cat": [{"var": "$flagd.flagKey"}, {"var": "id"}]},
                    ["on", 1],
                    ["off", 3],
                ]
            },
        ),
        (
            SPLIT,
            {"otherwise__shares__0__percent": "12.5", "otherwise__shares__1__percent": "87,5 %"},
            {"fractional": [{"var": "email"}, ["on", 125], ["off", 875]]},
        ),
        (
            {"ends_with": [{"var": "email"}, "x"]},
            {"rules__0__condition__value": "y"},
            {"ends_with": [{"var": "email"}, "y"]},
        ),
        (
            {"ends_with": [{"var": "email"}, "x"]},
            {"otherwise__serve": '"off"'},
            {"if": [{"ends_with": [{"var": "email"}, "x"]}, True, "off"]},
        ),
    ],
)
def test_edit_of_a_field_changes_its_part_only(
    targeting: Any, values: dict[str, str], expected: Any
) -> None:
    result = edited(flag(targeting=targeting), **values)

    assert not result.errors
    assert result.definition["targeting"] == expected


@pytest.mark.parametrize(
    ("targeting", "values", "field", "rule"),
    [
        (
            REVERSED,
            {"rules__0__condition__value": "old"},
            "rules.0.condition.value",
            "must be a number",
        ),
        (
            REVERSED,
            {"rules__0__condition__attribute": " "},
            "rules.0.condition.attribute",
            "must not be empty",
        ),
        (SPLIT, {"otherwise__shares__0__percent": "90"}, "otherwise.shares", "not to 165 %"),
        (
            SPLIT,
            {"otherwise__shares__0__percent": "-1"},
            "otherwise.shares.0.percent",
            "from 0 to 100",
        ),
        (SPLIT, {"variants__0__name": ""}, "variants.0.name", "must not be empty"),
        (SPLIT, {"variants__0__name": "off"}, "variants.1.name", "another name"),
        (
            {"if": [{"$ref": "a"}, "on"]},
            {"rules__0__condition__segment": ""},
            "rules.0.condition.segment",
            "must not be empty",
        ),
    ],
)
def test_text_without_a_value_is_an_error_of_its_field(
    targeting: Any, values: dict[str, str], field: str, rule: str
) -> None:
    result = edited(flag(targeting=targeting), **values)

    assert rule in result.errors[field][0]


def test_percents_of_thirds_add_up() -> None:
    split = {"fractional": [["on", 1], ["off", 1], ["on", 1]]}
    draft = draft_of(flag(targeting=split), None, 1)
    assert [share.percent for share in draft.otherwise.shares] == ["33.333"] * 3

    draft.otherwise.source = ""
    weights = definition_of(draft, {}).definition["targeting"]["fractional"]

    assert weights == [["on", 33333], ["off", 33333], ["on", 33334]]


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"variants": {"on": True}}, "needs a state and variants"),
        (flag(variants={"a": True, "b": 1}), "different types"),
        (flag(variants={"a": None}), "different types"),
        (flag(defaultVariant=1), "defaultVariant"),
        (flag(metadata={"a": []}), "metadata"),
        (flag(targeting={"if": [{"==": [1, 2]}, "on"]}), "targeting.if[0].== does not compare"),
    ],
)
def test_definition_without_fields_is_shown_as_json(definition: Any, reason: str) -> None:
    assert reason in str(advanced_reason(definition))
    assert json.loads(draft_of(definition, None, 1).json) == definition
