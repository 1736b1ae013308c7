"""The tables of operators in the documentation are complete, and their results are true."""

import json
import re
from typing import Any

import pytest

from app.evaluation.operators import OPERATORS
from app.evaluation.targeting import check_rule
from tests.paths import ROOT
from tests.unit.evaluation.rules import result, same

PAGE = (ROOT / "docs/operators.md").read_text()
CONTEXT: dict[str, Any] = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
EXAMPLES = re.findall(r"^\| [^|]*\| `({.+})` \| `(.+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("rule", "expected"), EXAMPLES)
def test_documented_example_gives_its_result(rule: str, expected: str) -> None:
    assert list(check_rule(json.loads(rule), "")) == []
    assert same(result(json.loads(rule), CONTEXT), json.loads(expected))


def test_documented_operators_are_all_operators() -> None:
    names = re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)

    # A write refuses `?:`, an alias of `if`, as flagd's schema does.
    assert sorted(names) == sorted(OPERATORS.keys() - {"?:"})
    assert len(EXAMPLES) >= len(names)
