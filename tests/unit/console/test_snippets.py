"""The programs of the tab Use it are those that the documentation shows and runs."""

import json
from typing import Any

import pytest

from app.console.flag.snippets import snippets
from tests.factories import flag
from tests.paths import ROOT

URL = "http://127.0.0.1:8080"
RECIPE = json.loads((ROOT / "docs/recipes/beta-list.json").read_text())["flags"]["beta-dashboard"]


def _program(name: str, definition: Any, key: str = "new") -> str:
    return next(item.program for item in snippets(key, definition, URL) if item.name == name)


def test_programs_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs/sdks.md").read_text()

    shown = {item.name: item for item in snippets("beta-dashboard", RECIPE, URL)}

    missing = [name for name, item in shown.items() if name != "curl" and item.program not in page]
    assert missing == []
    packages = [name for name, item in shown.items() if item.install.split()[-1:] != []]
    assert len(packages) == len(shown) - 1


@pytest.mark.parametrize(
    ("variants", "python", "go"),
    [
        (
            {"on": True, "off": False},
            'get_boolean_value("new", False',
            'BooleanValue(ctx, "new", f',
        ),
        (
            {"on": "x", "off": 'a"b'},
            r'get_string_value("new", "a\"b"',
            r'StringValue(ctx, "new", "a',
        ),
        ({"on": 1, "off": 2}, 'get_integer_value("new", 2', 'IntValue(ctx, "new", 2'),
        ({"on": 1, "off": 2.5}, 'get_float_value("new", 2.5', 'FloatValue(ctx, "new", 2.5'),
        ({"on": {}, "off": {"a": 1}}, 'get_object_value("new", {}', "map[string]any{}, user)"),
    ],
)
def test_program_gets_the_type_of_the_flag(variants: dict[str, Any], python: str, go: str) -> None:
    definition = flag(variants=variants, defaultVariant="off")

    assert python in _program("Python", definition)
    assert go in _program("Go", definition)


def test_context_of_a_program_matches_the_rules() -> None:
    conditions = [
        {"==": [{"var": "is_staff"}, True]},
        {"in": [{"var": "plan"}, ["it's", "team"]]},
        {"ends_with": [{"var": "email"}, "@example.org"]},
    ]
    definition = flag(targeting={"if": [{"or": conditions}, "on"]})

    assert '{"is_staff": True, "plan": "it\'s"}' in _program("Python", definition)
    assert 'is_staff: true, plan: "it\'s" }' in _program("JavaScript on a server", definition)
    assert "\"plan\": \"it'\\''s\"}}'" in _program("curl", definition)
    assert '.Set("is_staff", true).Set("plan"' in _program(".NET", definition)


@pytest.mark.parametrize("definition", [None, [], {}, {"variants": {}}, {"targeting": {"x": 1}}])
def test_programs_of_a_malformed_flag_are_shown(definition: Any) -> None:
    assert len(list(snippets("new", definition, URL))) == 8
