"""The attributes that rules need and sampled keys lack."""

from typing import Any

import pytest

from app.console.flag.sample_gaps import SampleGap, sample_gaps
from tests.factories import flag

_EMAIL = {"==": [{"var": "email"}, "a"]}


@pytest.mark.parametrize(
    ("targeting", "subject"),
    [
        (_EMAIL, "The targeting needs"),
        ({"cat": [{"var": "email"}]}, "The targeting needs"),
        ({"if": [_EMAIL, "on", "off"]}, "Rule 1 needs"),
        ({"if": [_EMAIL, "on"] * 2}, "Rules 1 and 2 need"),
        ({"if": [_EMAIL, "on"] * 9}, "Rules 1, 2, 3 and 6 more need"),
        ({"if": [{"!!": [{"$ref": "outer"}]}, "on"]}, "Rule 1 needs"),
    ],
)
def test_attribute_of_rules_is_a_gap(targeting: Any, subject: str) -> None:
    segments = {"outer": {"or": [{"$ref": "inner"}]}, "inner": _EMAIL}

    gaps = sample_gaps(flag(targeting=targeting), segments, {}, ["targetingKey"])

    assert gaps == [SampleGap(attribute="email", rules=subject)]


@pytest.mark.parametrize("definition", [flag(), {}, None, {"targeting": []}])
def test_definition_without_rules_has_no_gap(definition: Any) -> None:
    assert sample_gaps(definition, {}, {}, ["targetingKey"]) == []


def test_nested_attribute_of_the_sample_is_no_gap() -> None:
    rule = {"if": [{"==": [{"var": "user.team"}, "core"]}, "on"]}

    gaps = sample_gaps(flag(targeting=rule), {}, {"user": {"team": "x"}}, ["targetingKey"])

    assert gaps == []
