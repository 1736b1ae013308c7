import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.json_patch import are_equal
from app.console.settings.typed_value import TYPES, converted, read_typed, text_of, type_of
from app.errors import Invalid

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('aZ9 ,"<é✓🚩\n\r\t\u2028', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(_VALUES)
def test_unchanged_text_gives_the_same_value(value: Any) -> None:
    type_ = type_of(value)

    assert are_equal(read_typed(type_, text_of(value, type_)), value)


@given(_VALUES)
def test_value_as_json_and_back_is_the_same(value: Any) -> None:
    type_ = type_of(value)
    text = converted(text_of(value, type_), type_, "json")

    assert are_equal(read_typed("json", text), value)


@given(st.text(max_size=20), st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_any_text_converts_between_any_types(text: str, old: str, new: str) -> None:
    assert isinstance(converted(text, old, new), str)


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("12", "text", "number", "12"),
        ("2.5", "number", "text", "2.5"),
        ("true", "text", "boolean", "true"),
        ("hello", "text", "number", ""),
        ("hello", "text", "json", '"hello"'),
        ('"hello"', "json", "text", "hello"),
        ("", "null", "text", ""),
        ("{", "json", "text", "{"),
    ],
)
def test_type_change_retains_the_value(text: str, old: str, new: str, expected: str) -> None:
    assert converted(text, old, new) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{\n "a": 1,\n}', "at line 3, column 1: }"),
        ("", "it is empty"),
        ("NaN", "must not contain NaN"),
        ('{"a": 1, "a": 2}', "must not repeat a name"),
        (json.dumps([[]] * 20_000), "must not have more than 12000 values"),
    ],
)
def test_wrong_json_names_its_field_and_line(text: str, rule: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_typed("json", text)

    assert raised.value.violations[0].field == "value"
    assert rule in raised.value.violations[0].rule


@pytest.mark.parametrize("text", [" 12 ", "+12", "12"])
def test_number_accepts_spaces_and_a_plus(text: str) -> None:
    assert read_typed("number", text) == 12
