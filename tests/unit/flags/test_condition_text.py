"""Conditions that people write mean what they look like."""

from typing import Any

import pytest

from app.errors import Invalid
from app.evaluation.rule_tree import Targeting, TargetingRule
from app.evaluation.rule_writer import write
from app.flags.condition_text import parse_condition
from tests.unit.evaluation.rules import flag


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("beta", {"var": "beta"}),
        ("segment", {"var": "segment"}),
        ("segment staff", {"$ref": "staff"}),
        ("plan = pro", {"==": [{"var": "plan"}, "pro"]}),
        ("plan == pro", {"==": [{"var": "plan"}, "pro"]}),
        ("plan != pro plus", {"!=": [{"var": "plan"}, "pro plus"]}),
        ("age >= 18", {">=": [{"var": "age"}, 18]}),
        ("beta = true", {"==": [{"var": "beta"}, True]}),
        ('zip = "01067"', {"==": [{"var": "zip"}, "01067"]}),
        ("country in DE, AT", {"in": [{"var": "country"}, ["DE", "AT"]]}),
        ("age not_in 1,2", {"!": {"in": [{"var": "age"}, [1, 2]]}}),
        ("email contains @", {"in": ["@", {"var": "email"}]}),
        ("email  ends_with  @example.org", {"ends_with": [{"var": "email"}, "@example.org"]}),
        ("id starts_with 12", {"starts_with": [{"var": "id"}, "12"]}),
        ("app version>= 2.1.0", {"sem_ver": [{"var": "app"}, ">=", "2.1.0"]}),
        ("data = {}", {"==": [{"var": "data"}, "{}"]}),
    ],
)
def test_condition_is_a_rule_of_flagd(text: str, rule: dict[str, Any]) -> None:
    assert write(Targeting(shorthand=parse_condition(text))) == rule


@pytest.mark.parametrize(
    ("text", "operator"),
    [("plan is pro", "="), ("plan === pro", "="), ("email endswith @x", "ends_with")],
)
def test_misspelt_operator_has_a_suggestion(text: str, operator: str) -> None:
    with pytest.raises(Invalid, match=rf"did you mean {operator}\?"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["", " ", "plan ~~~~ pro", "plan =", "plan=pro", "age>=18"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="ATTRIBUTE OPERATOR VALUE"):
        parse_condition(text)


def test_condition_decides_an_evaluation() -> None:
    rule = TargetingRule(parse_condition("country not_in DE,AT"), "a")
    compiled_flag = flag(write(Targeting((rule,))))

    outcomes = [compiled_flag.evaluate({"country": name}, 0).outcome for name in ("DE", "FR")]

    assert [outcome.variant for outcome in outcomes] == ["b", "a"]
