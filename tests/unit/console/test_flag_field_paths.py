"""The fields of the form for the JSON paths that the API names."""

from typing import Any

import pytest

from app.console.flag.draft_reader import draft_of
from app.console.flag.field_paths import by_field
from app.errors import Invalid, Violation
from tests.factories import flag

A, B = {"var": "a"}, {"var": "b"}
SPLIT = {"fractional": [A, ["on", 1], ["none", 3]]}
FLAT = {"if": [{"!": [{"and": [A, {"!": B}]}]}, "on", B, SPLIT, "none"]}
NESTED = {"if": [A, "on", {"if": [B, "none", SPLIT]}]}


@pytest.mark.parametrize(
    ("targeting", "path", "field"),
    [
        (FLAT, "targeting.if[0].![0].and[1].!.var", "rules.0.condition.conditions.1"),
        (FLAT, "targeting.if[0].![0]", "rules.0.condition"),
        (FLAT, "targeting.if[2].var", "rules.1.condition"),
        (FLAT, "targeting.if[3].fractional[2][0]", "rules.1.outcome.shares.1"),
        (FLAT, "targeting.if[4]", "otherwise"),
        (NESTED, "targeting.if[2].if[1]", "rules.1.outcome"),
        (NESTED, "targeting.if[2].if[2].fractional[1][1]", "otherwise.shares.0"),
        (SPLIT, "targeting.fractional[2][0]", "otherwise.shares.1"),
        ({"ends_with": [A, "x"]}, "targeting", "rules.0.condition"),
        (FLAT, "targeting", "rules"),
        (FLAT, "variants.off", "variants.1"),
        (FLAT, "variants", "variants"),
        (FLAT, "defaultVariant", "default"),
        (FLAT, "metadata.owner", "metadata.0"),
        (FLAT, "guards[0].variant", "value.guards[0].variant"),
    ],
)
def test_path_of_the_api_leads_to_its_field(targeting: Any, path: str, field: str) -> None:
    draft = draft_of(flag(targeting=targeting, metadata={"owner": "a"}), None, 1)
    error = Invalid.of("operations_invalid", [Violation(f"operations[0].value.{path}", "is bad")])

    assert by_field(error, draft).by_field == {field: ["is bad"]}


def test_paths_of_a_definition_as_json_lead_to_its_text() -> None:
    draft = draft_of(flag(), None, 1, view="json")
    error = Invalid.of("operations_invalid", [Violation("operations[0].value.state", "is bad")])

    assert by_field(error, draft).by_field == {"json": ["is bad"]}
