"""`flag lint` finds all that an import would refuse, and probable mistakes."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.linting import Lint, lint_file
from app.evaluation.advice import flag_advice, rule_advice
from tests.factories import flag
from tests.paths import SHARED_DATA

CASES = SHARED_DATA / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")


@pytest.fixture(scope="module")
def checkers() -> Iterator[Checkers]:
    with closing(Checkers()) as opened:
        yield opened


def lint(checkers: Checkers, path: Path) -> Lint:
    return lint_file(path, None, checkers, fractional="v3", now=0)


def lint_document(checkers: Checkers, folder: Path, document: Any) -> list[tuple[str, str]]:
    path = folder / "a.flagd.json"
    path.write_text(json.dumps(document))
    return [(problem.field, problem.rule) for problem in lint(checkers, path).problems]


def using(*names: str) -> dict[str, Any]:
    return flag(targeting={"if": [{"or": [{"$ref": name} for name in names]}, "on", "off"]})


def test_lint_finds_every_kind_of_mistake(checkers: Checkers, tmp_path: Path) -> None:
    large = {"or": [{"==": [{"var": "x"}, n]} for n in range(450)]}
    document = {
        "flags": {
            "my flag": flag(),
            "bad.state": flag(state="ON"),
            "dangling": using("missing"),
            "circular": using("a"),
            "wide": using("large", "large"),
            "guarded": flag(defaultVariant="off", guards=[{"context": {}, "variant": "on"}]),
            "fine": flag(),
        },
        "$evaluators": {"a": {"!": {"$ref": "b"}}, "b": {"!": {"$ref": "a"}}, "large": large},
        "metadata": {"list": []},
    }

    findings = lint_document(checkers, tmp_path, document)

    assert [field for field, _ in findings] == [
        "'my flag'",
        "bad.state.value.state",
        "metadata.list",
        "dangling",
        "a",
        "b",
        "wide",
        "guarded.guards[0]",
    ]
    assert findings[-2][1] == "cannot be evaluated: the rule has more than 2000 nodes"
    assert findings[-1][1] == "gets off and must get on"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"flags": 1}, "flags"),
        ({"flags": {"same": flag()}, "$evaluators": {"same": {"!": 1}}}, "same"),
        ({"flags": {}, "metadata": {"a": "x" * 5_000}}, "metadata"),
        ({"flags": {"f": flag(state={"x": "y" * 300_000})}}, "f"),
        ({"flags": [{"key": "a", **flag()}, {"key": "a", **flag()}]}, "flags[1].key"),
    ],
)
def test_lint_reports_values_that_an_import_refuses(
    checkers: Checkers, tmp_path: Path, document: Any, field: str
) -> None:
    assert lint_document(checkers, tmp_path, document)[0][0] == field


def test_lint_goes_on_after_many_mistakes(checkers: Checkers, tmp_path: Path) -> None:
    flags: dict[str, Any] = {f"f{n}": 1 for n in range(150)}

    findings = lint_document(checkers, tmp_path, {"flags": {**flags, "z": using("missing")}})

    assert findings[0] == ("f0.value", "must be an object")
    assert findings[-1] == ("z", "refers to missing, which is no segment")


@pytest.mark.parametrize("content", ["{", '{"flags": {}, "flags": {}}', "[]"])
def test_lint_of_an_unreadable_file_names_the_rule(
    checkers: Checkers, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)

    findings = lint(checkers, path)

    assert (findings.entries, len(findings.problems)) == (0, 1)


@needs_cases
def test_case_same_branches_is_warned_and_no_problem(checkers: Checkers) -> None:
    findings = lint(checkers, CASES / "same-branches.flagd.json")

    assert (findings.entries, findings.problems) == (1, [])
    assert findings.warnings == ["fail-one.value.targeting.if: has branches that are all equal"]


@pytest.mark.parametrize(
    ("rule", "places"),
    [
        ({"if": [{"var": "x"}, "on", "on"]}, ["t.if"]),
        ({"if": [1, "on", 2, "on", "on"]}, ["t.if"]),
        ({"if": [1, "on", 2, "on"]}, []),
        ({"if": [1, "on", 2, "on", "off"]}, []),
        ({"if": [1, "on"]}, []),
        ({"if": ["on"]}, []),
        ({"if": [1, 1, True]}, []),
        ({"fractional": [["on", 1], ["on", 2]]}, ["t.fractional"]),
        ({"fractional": [{"var": "x"}, ["on", 1], ["off", 2]]}, []),
        ({"fractional": [["on", 1]]}, []),
        ({"if": [1, {"if": [2, "a", "a"]}, "b"]}, ["t.if[1].if"]),
        ({"and": [{"if": [2, {"var": "a"}, {"var": "a"}]}]}, ["t.and[0].if"]),
    ],
)
def test_equal_branches_are_named(rule: Any, places: list[str]) -> None:
    assert [finding.field for finding in rule_advice(rule, "t")] == places


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("targetting", "targeting"),
        ("Targeting", "targeting"),
        ("default_variant", "defaultVariant"),
        ("defaultVarient", "defaultVariant"),
        ("variant", "variants"),
        ("states", "state"),
        ("guard", "guards"),
        ("description", None),
        ("source", None),
        ("$comment", None),
        ("stat3us", None),
    ],
)
def test_misspelt_member_is_named(name: str, known: str | None) -> None:
    advice = [(finding.field, finding.rule) for finding in flag_advice({name: 1})]

    assert advice == ([(name, f"has no effect; did you mean {known}?")] if known else [])
