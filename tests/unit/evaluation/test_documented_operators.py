"""The tables of operators in the documentation are complete, and their results are true."""

import json
import re
from typing import Any

import pytest

from app.evaluation.engine import Flag, FlagSet
from app.evaluation.operators import OPERATORS
from app.evaluation.targeting import check_rule
from tests.factories import flag
from tests.paths import ROOT
from tests.unit.evaluation.rules import result, same

PAGE = (ROOT / "docs/operators.md").read_text()
RULES = (ROOT / "docs/flags.md").read_text().partition("\n## Rules\n")[2]
CONTEXT: dict[str, Any] = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
PAYMENTS = Flag("payments", flag(defaultVariant="on"), FlagSet({}, "v3", {}))
EXAMPLES = re.findall(r"^\| [^|]*\| `({.+})` \| `(.+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("rule", "expected"), EXAMPLES)
def test_documented_example_gives_its_result(rule: str, expected: str) -> None:
    assert list(check_rule(json.loads(rule), "")) == []
    given = result(json.loads(rule), CONTEXT, flag_of={"payments": PAYMENTS}.get)
    assert same(given, json.loads(expected))


def test_documented_operators_are_all_operators() -> None:
    names = re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)

    # A write refuses `?:`, an alias of `if`, as flagd's schema does. `in_list` needs a stored list.
    assert sorted(names) == sorted(OPERATORS.keys() - {"?:", "in_list"})
    assert len(EXAMPLES) >= len(names)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"email": "ada@example.org", "country": "US"}, {"on"}),
        ({"country": "DE"}, {"on", "off"}),
        ({"country": "US"}, {None}),
    ],
)
def test_documented_rule_gives_its_results(context: dict[str, str], expected: set[Any]) -> None:
    rule = json.loads(RULES.partition("```json\n")[2].partition("```")[0])

    results = {result(rule, {**context, "targetingKey": f"user-{n}"}) for n in range(50)}

    assert list(check_rule(rule, "")) == []
    assert results == expected
