"""A form that was not changed gives the value that it shows, for generated schemas and values."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from app.configuration.changes.json_patch import are_equal
from app.configuration.json_schema.validation import check
from app.console.forms import Form
from app.console.settings.value_fields import ValueField
from app.console.settings.value_form import NoForm, build
from app.console.settings.value_reader import PRESENT, filled, read_value, unique_lines

_NAMES = st.sampled_from(["a", "b", "limit", "Ünï code", "x-y", "a b"])
_TEXTS = st.text('aZ9 ,"<é✓🚩\n\r\t\u2028', max_size=12)
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
_BOOLEANS = st.booleans()
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": _TEXTS,
    "number": _NUMBERS,
    "integer": st.integers(-(2**53), 2**53),
    "boolean": _BOOLEANS,
}
Pair = tuple[dict[str, Any], Any]


@st.composite
def _scalars(draw: st.DrawFn) -> Pair:
    type_ = draw(st.sampled_from(sorted(_SCALARS)))
    return {"type": type_}, draw(_SCALARS[type_])


@st.composite
def _choices(draw: st.DrawFn) -> Pair:
    options = draw(st.lists(_TEXTS | _NUMBERS | _BOOLEANS | st.none(), min_size=1, max_size=4))
    return {"enum": options}, draw(st.sampled_from(options))


@st.composite
def _lists(draw: st.DrawFn) -> Pair:
    type_ = draw(st.sampled_from(sorted(_SCALARS)))
    schema: dict[str, Any] = {"type": "array", "items": {"type": type_}}
    values = draw(st.lists(_SCALARS[type_], max_size=4))
    if draw(_BOOLEANS):
        schema["uniqueItems"] = True
        values = [item for n, item in enumerate(values) if item not in values[:n]]
    return schema, values


@st.composite
def _objects(draw: st.DrawFn, children: st.SearchStrategy[Pair]) -> Pair:
    members = draw(st.dictionaries(_NAMES, children, min_size=1, max_size=4))
    required = [name for name in members if draw(_BOOLEANS)]
    present = [name for name in members if name in required or draw(_BOOLEANS)]
    schema = {
        "type": "object",
        "properties": {name: schema for name, (schema, _) in members.items()},
        "required": required,
    }
    return schema, {name: members[name][1] for name in present}


_PAIRS = st.recursive(st.one_of(_scalars(), _choices(), _lists()), _objects, max_leaves=8)


def _posted(field: ValueField) -> Iterator[tuple[str, str]]:
    """Yield what a browser sends for a field that was not changed."""
    if field.kind == "group":
        if field.is_present:
            yield field.path, PRESENT
        for part in field.fields:
            yield from _posted(part)
    elif field.kind == "check":
        if field.text == "true":
            yield field.path, "true"
    elif field.kind != "constant":
        if field.kind == "list" and field.is_present:
            yield f"{field.path}[]", PRESENT
        # An input of one line loses line breaks.
        is_one_line = field.kind == "text"
        yield field.path, field.text.replace("\n", "") if is_one_line else field.text


@given(_PAIRS)
def test_unchanged_form_gives_the_same_value(pair: Pair) -> None:
    schema, value = pair
    field = build(schema, value)
    if isinstance(field, NoForm):
        assert field.reason
        return

    form = Form(_posted(field))
    read, violations = read_value(field, form)

    assert violations == []
    assert are_equal(read, value)
    assert Form(_posted(filled(field, form))) == form


@given(_PAIRS)
def test_new_form_of_any_schema_reads_without_error(pair: Pair) -> None:
    schema, _ = pair
    field = build(schema)
    if not isinstance(field, NoForm):
        read_value(field, Form(_posted(field)))


_LIMITS: dict[str, Any] = {
    "type": "object",
    "required": ["max", "on"],
    "properties": {
        "max": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "note": {"type": "string"},
        "retry": {"type": "object", "properties": {"count": {"$ref": "#/$defs/count"}}},
    },
    "$defs": {"count": {"type": "integer"}},
}


def _read(schema: dict[str, Any], value: Any, **posted: str) -> tuple[Any, list[str]]:
    field = build(schema, value)
    assert isinstance(field, ValueField)
    form = Form(_posted(field))
    form.update({f"value.{name.replace('__', '.')}": text for name, text in posted.items()})
    read, violations = read_value(field, form)
    return read, [str(violation) for violation in violations]


def test_fields_have_kinds_bounds_and_order() -> None:
    field = build(_LIMITS, {"max": 3, "on": True})

    assert isinstance(field, ValueField)
    assert [(part.name, part.kind) for part in field.fields] == [
        ("max", "integer"),
        ("on", "check"),
        ("note", "text"),
        ("retry", "group"),
        ("tags", "list"),
    ]
    assert (field.fields[0].minimum, field.fields[0].maximum) == ("1", "9")


def test_new_value_gets_the_defaults_of_its_schema() -> None:
    field = build(_LIMITS)

    assert isinstance(field, ValueField)
    assert field.fields[0].text == "5"


def test_optional_parts_appear_when_filled_in() -> None:
    value = {"max": 3, "on": True}

    read, violations = _read(_LIMITS, value, note="hi", tags="a\n b \na\n\n", retry__count="2")

    assert violations == []
    assert read == {**value, "note": "hi", "tags": ["a", "b"], "retry": {"count": 2}}


def test_emptied_optional_field_is_left_out() -> None:
    read, _ = _read(_LIMITS, {"max": 3, "on": True, "note": "x", "tags": ["a"]}, note="", tags="")

    assert read == {"max": 3, "on": True, "tags": []}


@pytest.mark.parametrize("text", ["", "x", "1 2", "٣", "true", "0x1", "NaN"])
def test_wrong_number_names_its_field(text: str) -> None:
    _, violations = _read(_LIMITS, {"max": 3, "on": True}, max=text)

    assert violations == ["value.max: must be a number, such as 12 or 0.5"]


def test_wrong_items_name_their_positions() -> None:
    schema = {"type": "array", "items": {"type": "number"}}
    field = build(schema, [1])
    assert isinstance(field, ValueField)

    _, violations = read_value(field, Form({"value": "1\nx\n3", "value[]": PRESENT}))

    assert [violation.field for violation in violations] == ["value[1]"]


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"anyOf": [{"type": "string"}]}, "a", "the schema of value uses anyOf"),
        ({}, "a", "the schema of value names no type"),
        ({"type": ["string", "null"]}, "a", "the schema of value allows several types"),
        ({"type": "object"}, {}, "the schema of value names no properties"),
        ({"type": "integer"}, "a", "value does not match its schema"),
        ({"type": "array", "items": {"type": "object"}}, [], "the items of value are not plain"),
        ({"type": "array", "items": {"type": "string"}}, [" a"], "not one line of text"),
        ({"type": "string"}, "a\r", "carriage return"),
        ({"properties": {"a": {"type": "string"}}}, {"b": 1}, "value has the member b"),
        ({"properties": {"a": {"type": "string"}}}, {"a": ""}, "value.a is optional and has an"),
        ({"properties": {"a.b": {"type": "string"}}}, {}, "a name with . or ["),
        ({"properties": {"a": {"$ref": "#"}}}, {}, "the schema refers to itself"),
        ({"properties": {f"p{n}": {"type": "string"} for n in range(201)}}, {}, "more than 200"),
    ],
)
def test_schema_without_form_has_a_reason(schema: dict[str, Any], value: Any, reason: str) -> None:
    built = build(schema, value)

    assert isinstance(built, NoForm)
    assert reason in built.reason


@given(_PAIRS)
def test_generated_values_match_their_schemas(pair: Pair) -> None:
    schema, value = pair

    assert check(schema, value).broken == []


def test_unique_lines_count_duplicates() -> None:
    assert unique_lines("b\na\n\n b\na \nc") == (["b", "a", "c"], 2)
    assert unique_lines("") == ([], 0)


def test_unset_value_is_no_value() -> None:
    assert build({"type": "string"}, UNSET) == build({"type": "string"})
